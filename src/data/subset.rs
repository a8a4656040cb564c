//! Part of a data set: for splits of sets that are stored class by class.

use std::ops::Range;
use std::sync::Arc;

use rand::Rng;
use rand::seq::SliceRandom;

use super::random::{Stream, generator};
use super::{Colours, DataError, Source, StoredImage};
use crate::shares::{search_split, train_valid_split};

/// Some images of a source, numbered anew in the source's order.
pub struct Subset {
    source: Arc<dyn Source>,
    indices: Vec<u32>,
}

impl Subset {
    /// Draws `limit` of the images of `source` (0 = all) and splits them into the `fraction` to train on and the rest. A
    /// function of `seed` and the number of images.
    ///
    /// An image to validate on never stands in for a bad one to train on, because each part is a source of its own.
    pub fn split(source: &Arc<dyn Source>, limit: usize, fraction: f64, seed: u64) -> [Arc<dyn Source>; 2] {
        let order = drawn(source.len(), limit, &mut generator(seed, Stream::Split, 0, 0));
        let (train, valid) = train_valid_split(order.len(), fraction);
        [train, valid].map(|part| Self::of(source, of_range(&order, part)))
    }

    /// Draws `limit` of the images of `source` (0 = all). A function of `seed` and the number of images.
    pub fn limited(source: &Arc<dyn Source>, limit: usize, seed: u64) -> Arc<dyn Source> {
        Self::of(source, drawn(source.len(), limit, &mut generator(seed, Stream::Split, 0, 0)))
    }

    /// Draws two disjoint shares of `source`, of every class alike: `fractions` of its images, rounded down; a second
    /// fraction of 0 stands for all that the first leaves. A function of `seed` and the labels.
    pub fn balanced(source: &Arc<dyn Source>, fractions: [f64; 2], seed: u64) -> [Arc<dyn Source>; 2] {
        let mut classes = vec![Vec::new(); source.class_names().len()];
        for index in drawn(source.len(), 0, &mut generator(seed, Stream::Split, 0, 1)) {
            if let Some(class) = source.label(index).and_then(|label| classes.get_mut(label as usize)) {
                class.push(index);
            }
        }
        let shares = classes.iter().map(|class| {
            let (first, second) = search_split(class.len(), fractions[0], fractions[1]);
            (of_range(class, first), of_range(class, second))
        });
        let (first, second): (Vec<_>, Vec<_>) = shares.unzip();
        [first, second].map(|classes| Self::of(source, classes.concat()))
    }

    /// The images of `source` with these numbers; `source` itself, if they are all.
    fn of(source: &Arc<dyn Source>, mut indices: Vec<u32>) -> Arc<dyn Source> {
        if indices.len() == source.len() {
            return Arc::clone(source);
        }
        // In the order of the files, which are near each other.
        indices.sort_unstable();
        Arc::new(Self { source: Arc::clone(source), indices })
    }

    /// The source's number of image `index`.
    fn of_source(&self, index: u32) -> Option<u32> {
        self.indices.get(index as usize).copied()
    }
}

impl Source for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn side(&self) -> Option<usize> {
        self.source.side()
    }

    fn class_names(&self) -> &[String] {
        self.source.class_names()
    }

    fn label(&self, index: u32) -> Option<u32> {
        self.source.label(self.of_source(index)?)
    }

    fn read<'a>(&'a self, index: u32, buffer: &'a mut Vec<u8>) -> Result<StoredImage<'a>, DataError> {
        let inner = self.of_source(index).ok_or(DataError::SampleOutOfRange { index, len: self.len() })?;
        self.source.read(inner, buffer)
    }

    fn location(&self, index: u32) -> String {
        self.of_source(index).map(|index| self.source.location(index)).unwrap_or_default()
    }

    /// The whole set's: which part this is follows from the configuration.
    fn fingerprint(&self) -> String {
        self.source.fingerprint()
    }

    fn sizes(&self) -> Option<String> {
        self.source.sizes()
    }

    fn colours(&self) -> Colours {
        self.source.colours()
    }
}

fn of_range(order: &[u32], range: Range<u32>) -> Vec<u32> {
    order[range.start as usize..range.end as usize].to_vec()
}

/// `limit` of `len` numbers (0 = all) in a random order.
fn drawn(len: usize, limit: usize, random: &mut impl Rng) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len as u32).collect();
    order.shuffle(random);
    if limit > 0 {
        order.truncate(limit);
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;
    use crate::data::{DatasetKind, Split, open};

    fn locations(source: &Arc<dyn Source>) -> Vec<String> {
        (0..source.len() as u32).map(|index| source.location(index)).collect()
    }

    #[test]
    fn parts_are_disjoint_cover_what_is_used_and_mix_the_classes() {
        let whole = open(DatasetKind::Photodigits, Path::new(""), Split::Train).unwrap();
        let [train, valid] = Subset::split(&whole, 1000, 0.8, 3);
        assert_eq!((train.len(), valid.len()), (800, 200));
        let all: HashSet<String> = locations(&train).into_iter().chain(locations(&valid)).collect();
        assert_eq!(all.len(), 1000);
        for part in [&train, &valid] {
            let classes: HashSet<_> = (0..part.len() as u32).map(|index| part.label(index).unwrap()).collect();
            assert_eq!(classes.len(), 10);
        }
        let of_first = |seed| locations(&Subset::split(&whole, 1000, 0.8, seed)[0]);
        assert_eq!(of_first(3), locations(&train));
        assert_ne!(of_first(4), locations(&train));
        assert!(valid.read(200, &mut Vec::new()).is_err() && valid.label(200).is_none());
    }

    #[test]
    fn shares_are_disjoint_and_hold_as_much_of_every_class() {
        let whole = open(DatasetKind::Photodigits, Path::new(""), Split::Train).unwrap();
        let count = |part: &Arc<dyn Source>, class: u32| {
            (0..part.len() as u32).filter(|&index| part.label(index) == Some(class)).count()
        };
        // 220 images of each class: 10 and 2.5 percent, rounded down.
        for (fractions, expected) in [([0.1, 0.025], [22, 5]), ([0.3, 0.0], [66, 154]), ([0.5, 0.5], [110, 110])] {
            let shares = Subset::balanced(&whole, fractions, 3);
            for class in 0..10 {
                assert_eq!([0, 1].map(|share: usize| count(&shares[share], class)), expected);
            }
            let all: HashSet<String> = shares.iter().flat_map(locations).collect();
            assert_eq!(all.len(), shares[0].len() + shares[1].len());
        }
        let of_first = |seed| locations(&Subset::balanced(&whole, [0.1, 0.025], seed)[0]);
        assert_eq!(of_first(3), of_first(3));
        assert_ne!(of_first(3), of_first(4));
        let limited = Subset::limited(&whole, 500, 3);
        let [weights, alphas] = Subset::balanced(&limited, [0.5, 0.0], 3);
        assert_eq!((limited.len(), weights.len() + alphas.len()), (500, 500));
        assert_eq!(locations(&Subset::limited(&whole, 0, 3)), locations(&whole));
    }

    #[test]
    fn whole_set_stays_as_it_is() {
        let whole = open(DatasetKind::Photodigits, Path::new(""), Split::Test).unwrap();
        let [train, valid] = Subset::split(&whole, 0, 1.0, 0);
        assert_eq!(locations(&train), locations(&whole));
        assert!(valid.is_empty());
    }
}
