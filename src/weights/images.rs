//! What a file of weights says about the images that its network was trained on.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fit::MOST_PIXELS;
use super::{Format, StateDict, WeightsProblem};
use crate::data::{CentreView, Colours, DatasetKind, Filter};

/// The metadata of what images were normalised with: [`Colours`] as JSON.
pub const COLOURS_KEY: &str = "normalisation";

/// The metadata of which images there were and how they were seen: [`TrainedOn`] as JSON.
pub const IMAGES_KEY: &str = "images";

/// The data set that a network was trained on; of images without a size of their own also what it validates and tests on.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedOn {
    /// The data set.
    pub dataset: DatasetKind,
    /// What the shorter side of an image becomes before its middle is cut out, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<u64>,
    /// How pixels are interpolated then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Filter>,
}

impl TrainedOn {
    /// The data set `dataset`, seen in `view` where its images have no size of their own.
    pub fn new(dataset: DatasetKind, view: CentreView) -> Self {
        let view = Some(view).filter(|_| dataset == DatasetKind::Images);
        let resize = view.map(|view| view.resize as u64);
        Self { dataset, resize, interpolation: view.map(|view| view.filter) }
    }
}

impl StateDict {
    /// What images are to be normalised with, where a file of this program says so.
    ///
    /// # Errors
    /// When that is nothing that they can be normalised with.
    pub fn colours(&self) -> Result<Option<Colours>, WeightsProblem> {
        let what = "its normalisation of images";
        match self.stated::<Colours>(COLOURS_KEY, what)? {
            Some(colours) if !colours.are_usable() => Err(WeightsProblem::damaged(format!("{what}: {colours}"))),
            colours => Ok(colours),
        }
    }

    /// What the network was trained on, where a file of this program says so; those of earlier versions say no more than
    /// [`StateDict::colours`].
    ///
    /// # Errors
    /// When it names no data set, or no view of its images.
    pub fn trained_on(&self) -> Result<Option<TrainedOn>, WeightsProblem> {
        let what = "its images";
        match self.stated::<TrainedOn>(IMAGES_KEY, what)? {
            Some(TrainedOn { resize: Some(resize), .. }) if !(1..=MOST_PIXELS).contains(&resize) => {
                Err(WeightsProblem::damaged(format!("{what}: a shorter side of {resize} pixels")))
            }
            images => Ok(images),
        }
    }

    /// The metadata `key`, which holds `what`.
    fn stated<T: DeserializeOwned>(&self, key: &str, what: &str) -> Result<Option<T>, WeightsProblem> {
        // Beside a state dict of `torch.save` anything can have this name.
        let json = self.metadata.get(key).filter(|_| self.format == Format::Safetensors);
        let value = json.map(|json| serde_json::from_str(json)).transpose();
        value.map_err(|error| WeightsProblem::damaged(format!("{what}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    fn state(key: &str, json: &str) -> StateDict {
        StateDict {
            format: Format::Safetensors,
            found_in: Vec::new(),
            prefix: String::new(),
            left_out: 0,
            tensors: BTreeMap::new(),
            metadata: HashMap::from([(key.to_owned(), json.to_owned())]),
        }
    }

    #[test]
    fn normalisation_is_read_of_safetensors_and_has_to_be_one() {
        let stated = Colours { mean: [0.1, 0.2, 0.3], std: [0.5, 0.6, 0.7] };
        let mut own = state(COLOURS_KEY, &serde_json::to_string(&stated).unwrap());
        assert_eq!(own.colours().unwrap(), Some(stated));
        // Where it may mean anything.
        own.format = Format::TorchZip;
        assert_eq!(own.colours().unwrap(), None);
        for json in [
            "imagenet",
            r#"{"mean":[0,0,0]}"#,
            r#"{"mean":[0,0,1e999],"std":[1,1,1]}"#,
            r#"{"mean":[0,0,0],"std":[1,-1,1]}"#,
        ] {
            let message = state(COLOURS_KEY, json).colours().unwrap_err().to_string();
            assert!(message.starts_with("damaged or cut off (its normalisation of images: "), "{message}");
        }
    }

    #[test]
    fn view_is_stated_of_images_without_a_size_of_their_own() {
        let view = CentreView { resize: 40, crop: 32, filter: Filter::Bicubic };
        for (dataset, json) in [
            (DatasetKind::Images, r#"{"dataset":"images","resize":40,"interpolation":"bicubic"}"#),
            (DatasetKind::Cifar100, r#"{"dataset":"cifar100"}"#),
        ] {
            let stated = TrainedOn::new(dataset, view);
            assert_eq!(serde_json::to_string(&stated).unwrap(), json);
            assert_eq!(state(IMAGES_KEY, json).trained_on().unwrap(), Some(stated));
        }
        assert_eq!(state(COLOURS_KEY, "{}").trained_on().unwrap(), None);
        for json in ["{}", r#"{"dataset":"mnist"}"#, r#"{"dataset":"images","resize":0}"#] {
            let message = state(IMAGES_KEY, json).trained_on().unwrap_err().to_string();
            assert!(message.starts_with("damaged or cut off (its images: "), "{message}");
        }
    }
}
