//! What a run does about an image that cannot be read or decoded: it ends, or uses the class's next one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::{DataError, Source};

/// What is done about a bad image.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum BadImagePolicy {
    /// It ends the run.
    Error,
    /// It is counted and replaced, until there are more than `limit` of them.
    Skip {
        /// Different images that may be bad.
        limit: usize,
    },
}

/// The bad images of a set that were met so far; shared by the threads that load.
///
/// Which image stands in for a bad one depends on the set alone, so batches do not depend on threads or ranks.
#[derive(Debug)]
pub struct BadImages {
    policy: BadImagePolicy,
    met: Mutex<BTreeSet<u32>>,
}

impl BadImages {
    /// None met yet.
    pub fn new(policy: BadImagePolicy) -> Self {
        Self { policy, met: Mutex::default() }
    }

    /// `make` of image `index` of `source`, or of the next one of its class that is not bad, where the policy allows it;
    /// and that image's number.
    ///
    /// # Errors
    /// The first bad image, if none may be; that there are more than may be; that a class has only bad ones; and
    /// whatever `make` fails with that is not the fault of one image.
    pub fn replacing<T>(
        &self,
        source: &dyn Source,
        index: u32,
        mut make: impl FnMut(u32) -> Result<T, DataError>,
    ) -> Result<(T, u32), DataError> {
        let class = source.label(index);
        let len = u32::try_from(source.len()).unwrap_or(u32::MAX);
        let after = (index.saturating_add(1)..len).chain(0..index.min(len));
        let mut last = None;
        for candidate in std::iter::once(index).chain(after.filter(|&other| source.label(other) == class)) {
            match make(candidate) {
                Ok(made) => return Ok((made, candidate)),
                Err(error) if error.is_of_one_image() => {
                    let BadImagePolicy::Skip { limit } = self.policy else { return Err(error) };
                    self.count(candidate, &error, limit)?;
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or(DataError::SampleOutOfRange { index, len: len as usize }))
    }

    /// The numbers of the images that were replaced so far.
    pub fn numbers(&self) -> Vec<u32> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn count(&self, index: u32, error: &DataError, limit: usize) -> Result<(), DataError> {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.insert(index) {
            tracing::warn!("{error}; another image of its class is used in its place");
        }
        if met.len() > limit {
            return Err(DataError::TooManyBad { found: met.len(), limit, last: error.to_string() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Colours, StoredImage};

    /// Eight images of classes 0, 1, 0, 1, ... of which some cannot be read.
    struct SomeBad<'a> {
        bad: &'a [u32],
        class_names: [String; 2],
    }

    impl Source for SomeBad<'_> {
        fn len(&self) -> usize {
            8
        }

        fn class_names(&self) -> &[String] {
            &self.class_names
        }

        fn label(&self, index: u32) -> Option<u32> {
            (index < 8).then_some(index % 2)
        }

        fn read<'a>(&'a self, index: u32, buffer: &'a mut Vec<u8>) -> Result<StoredImage<'a>, DataError> {
            if self.bad.contains(&index) {
                return Err(DataError::image(self.location(index), "it is empty".into()));
            }
            Ok(StoredImage::Encoded(buffer))
        }

        fn location(&self, index: u32) -> String {
            format!("{index}.jpg")
        }

        fn fingerprint(&self) -> String {
            String::new()
        }

        fn colours(&self) -> Colours {
            Colours::IMAGENET
        }
    }

    fn replacing(images: &BadImages, bad: &[u32], index: u32) -> Result<u32, DataError> {
        let source = SomeBad { bad, class_names: ["a".into(), "b".into()] };
        let make = |index: u32| source.read(index, &mut Vec::new()).map(|_| index);
        let (made, used) = images.replacing(&source, index, make)?;
        assert_eq!(made, used);
        Ok(used)
    }

    #[test]
    fn first_bad_image_ends_the_run_unless_it_may_be_skipped() {
        let images = BadImages::new(BadImagePolicy::Error);
        assert_eq!(replacing(&images, &[3], 2).unwrap(), 2);
        assert!(replacing(&images, &[3], 3).unwrap_err().to_string().contains("3.jpg"));
        assert_eq!(images.numbers(), [0u32; 0]);
    }

    #[test]
    fn next_good_image_of_the_class_takes_the_place_also_past_the_end() {
        let images = BadImages::new(BadImagePolicy::Skip { limit: 3 });
        let bad = [3, 5, 7];
        assert_eq!(replacing(&images, &bad, 5).unwrap(), 1);
        assert_eq!(replacing(&images, &bad, 3).unwrap(), 1);
        assert_eq!(replacing(&images, &bad, 3).unwrap(), 1);
        assert_eq!(images.numbers(), bad);
    }

    #[test]
    fn more_bad_images_than_the_limit_end_the_run_in_one_line() {
        let images = BadImages::new(BadImagePolicy::Skip { limit: 1 });
        assert_eq!(replacing(&images, &[0, 6], 0).unwrap(), 2);
        let message = replacing(&images, &[0, 6], 6).unwrap_err().to_string();
        assert!(message.contains("2 images") && message.contains("6.jpg") && message.lines().count() == 1, "{message}");
    }

    #[test]
    fn class_of_only_bad_images_and_failures_of_other_kinds_are_errors() {
        let images = BadImages::new(BadImagePolicy::Skip { limit: 99 });
        assert!(replacing(&images, &[1, 3, 5, 7], 3).is_err());
        let failure = {
            let source = SomeBad { bad: &[], class_names: ["a".into(), "b".into()] };
            images.replacing(&source, 0, |_| Err::<(), _>(DataError::NoSamples)).unwrap_err()
        };
        assert!(matches!(failure, DataError::NoSamples));
    }
}
