//! Many short names in one buffer: a million of them take their bytes and four more each.

/// Names as bytes, for a file's name need not be text.
#[derive(Clone, Debug, Default)]
pub(in crate::data) struct Names {
    bytes: Vec<u8>,
    /// Where each name ends.
    ends: Vec<u32>,
}

impl Names {
    /// Appends a name; `false` when the buffer cannot hold it (4 GiB).
    pub fn push(&mut self, name: &[u8]) -> bool {
        let Ok(end) = u32::try_from(self.bytes.len() + name.len()) else { return false };
        self.bytes.extend_from_slice(name);
        self.ends.push(end);
        true
    }

    /// Name number `index`; empty past the last one.
    pub fn get(&self, index: usize) -> &[u8] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..end as usize]
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The same names in the order of their bytes.
    pub fn sorted(&self) -> Self {
        let mut order: Vec<&[u8]> = self.iter().collect();
        order.sort_unstable();
        let mut sorted = Self { bytes: Vec::with_capacity(self.bytes.len()), ends: Vec::with_capacity(self.len()) };
        for name in order {
            sorted.push(name);
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_sort_by_their_bytes() {
        let mut names = Names::default();
        for name in ["b", "", "ab", "B"] {
            assert!(names.push(name.as_bytes()));
        }
        assert_eq!((names.len(), names.get(0), names.get(2), names.get(9)), (4, &b"b"[..], &b"ab"[..], &b""[..]));
        assert_eq!(names.sorted().iter().collect::<Vec<_>>(), [&b""[..], b"B", b"ab", b"b"]);
    }
}
