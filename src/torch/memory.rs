//! What libtorch says when there is not enough memory, in a person's words.

use std::fmt;

/// Memory that was asked for and refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRefusal {
    /// The size, as far as libtorch told it: `1.50 GiB`.
    pub asked: Option<String>,
}

impl MemoryRefusal {
    /// Recognises the messages of libtorch's allocators, of CUDA's libraries and of C++.
    pub fn find(message: &str) -> Option<Self> {
        const SIGNS: [&str; 8] = [
            "can't allocate memory",
            "not enough memory",
            "out of memory",
            "bad_alloc",
            "bad allocation",
            "ALLOC_FAILED",
            "cudaErrorMemoryAllocation",
            "Cannot allocate memory",
        ];
        if !SIGNS.iter().any(|sign| message.contains(sign)) {
            return None;
        }
        let after = |mark: &str| message.split_once(mark).map(|(_, rest)| rest);
        let bytes = after("tried to allocate ").and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        // On a GPU libtorch has the unit.
        let with_unit = after("Tried to allocate ").and_then(|rest| rest.split(". ").next());
        // As this type says it.
        let in_words = after("out of memory, ").and_then(|rest| rest.split_once(" more were asked for"));
        let with_unit = with_unit.or(in_words.map(|(size, _)| size));
        let asked = bytes.map(human_bytes).or(with_unit.map(|size| size.trim_end_matches('.').to_owned()));
        Some(Self { asked })
    }
}

impl fmt::Display for MemoryRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Some(asked) => write!(f, "out of memory, {asked} more were asked for"),
            None => f.write_str("out of memory"),
        }
    }
}

fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        (size, unit) = (size / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{size:.2} {}", UNITS[unit]) }
}

/// The first line of a message of libtorch, without the place in its source.
pub(super) fn in_words(message: &str) -> String {
    if let Some(refusal) = MemoryRefusal::find(message) {
        return refusal.to_string();
    }
    message.lines().next().unwrap_or_default().trim_start_matches("Internal torch error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_recognised_with_their_size() {
        for (message, expected) in [
            (
                "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to \
                 allocate 1610612736 bytes. Error code 12 (Cannot allocate memory)\nframe #0",
                "out of memory, 1.50 GiB more were asked for",
            ),
            (
                "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB of which",
                "out of memory, 20.00 MiB more were asked for",
            ),
            ("std::bad_alloc", "out of memory"),
            ("CUDNN_STATUS_ALLOC_FAILED", "out of memory"),
        ] {
            let refusal = MemoryRefusal::find(message).unwrap();
            assert_eq!(refusal.to_string(), expected);
            assert_eq!(MemoryRefusal::find(expected), Some(refusal));
        }
        assert_eq!(MemoryRefusal::find("shapes differ"), None);
        assert_eq!(in_words("Internal torch error: shapes differ\nframe #0"), "shapes differ");
    }

    #[test]
    fn libtorchs_own_refusal_is_one() {
        let error = tch::Tensor::f_zeros([1 << 50], (tch::Kind::Float, tch::Device::Cpu)).unwrap_err();
        let refusal = MemoryRefusal::find(&error.to_string()).unwrap();
        assert_eq!(refusal.asked.as_deref(), Some("4096.00 TiB"));
    }
}
