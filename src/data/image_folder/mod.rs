//! Images in files, a folder for each class: ImageNet's validation set as torchvision's `ImageFolder` expects it.

mod view;

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::view::CentreView;
use super::{Batch, Batches, CHANNELS, DataError, Sampler, Shard, prefetch::Prefetch};

const EXTENSIONS: [&str; 3] = ["jpeg", "jpg", "png"];

/// The files of a data set and their classes, which are numbered in the order of their folders' names.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    /// In the order of classes, then of names.
    files: Vec<(PathBuf, usize)>,
}

impl ImageFolder {
    /// Lists the images in the folders of `dir`, or of `val` in it.
    ///
    /// # Errors
    /// When there is no such folder, a class without images, or images beside the folders.
    pub fn open(dir: &Path) -> Result<Self, DataError> {
        let inner = dir.join("val");
        let dir = if inner.is_dir() { inner.as_path() } else { dir };
        let refused = |reason: &str| DataError::ImageFolder { dir: dir.into(), reason: reason.into() };
        let entries = list(dir)?;
        let folders: Vec<&PathBuf> = entries.iter().filter(|path| path.is_dir()).collect();
        if folders.is_empty() {
            let reason = match entries.iter().any(|path| is_image(path)) {
                true => "its images are not in a folder for each class",
                false => "it has no folders with images",
            };
            return Err(refused(reason));
        }
        let mut found = Self { classes: Vec::new(), files: Vec::new() };
        for folder in folders {
            let images: Vec<PathBuf> = list(folder)?.into_iter().filter(|path| is_image(path)).collect();
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if images.is_empty() {
                return Err(refused(&format!("its folder {name} has no images")));
            }
            found.files.extend(images.into_iter().map(|path| (path, found.classes.len())));
            found.classes.push(name);
        }
        Ok(found)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The folders' names.
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// All images in order, as evaluation of ImageNet sees them (the middle 224 pixels after the shorter side is brought to
    /// 256), decoded ahead on `num_threads` threads, `batch_size` at a time.
    ///
    /// # Errors
    /// If the system refuses a thread; a file that cannot be decoded is the last item.
    pub fn batches(self: &Arc<Self>, batch_size: usize, num_threads: NonZeroUsize) -> Result<Batches, DataError> {
        let num_images = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let sampler = Sampler::sequential(0..num_images, batch_size, Shard::WHOLE)?;
        let indices: Vec<Vec<u32>> = sampler.batches(0, 0..sampler.num_steps()).collect();
        let (folder, view) = (Arc::clone(self), CentreView::imagenet());
        let prefetch =
            Prefetch::start(indices, num_threads, move |indices: Vec<u32>| folder.assemble(&view, &indices))?;
        Ok(Batches::from(prefetch))
    }

    fn assemble(&self, view: &CentreView, indices: &[u32]) -> Result<Batch, DataError> {
        let mut pixels = Vec::with_capacity(indices.len() * view.crop * view.crop * CHANNELS);
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            let (path, class) =
                self.files.get(index as usize).ok_or(DataError::SampleOutOfRange { index, len: self.len() })?;
            view.append(path, &mut pixels)?;
            labels.push(*class as i64);
        }
        Ok(Batch { pixels, labels, height: view.crop, width: view.crop })
    }
}

/// What is in a folder, by name.
fn list(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries: io::Result<Vec<PathBuf>> =
        fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut entries = entries
        .map_err(|error| DataError::ImageFolder { dir: dir.into(), reason: format!("cannot be read: {error}") })?;
    entries.sort();
    Ok(entries)
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(path: &Path, width: u32, colour: [u8; 3]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(width, 260, image::Rgb(colour)).save(path).unwrap();
    }

    fn refusal(dir: &Path) -> String {
        let message = ImageFolder::open(dir).unwrap_err().to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        message
    }

    #[test]
    fn images_come_with_the_classes_of_their_folders() {
        let dir = tempfile::tempdir().unwrap();
        image(&dir.path().join("val/n02/b.png"), 300, [0, 255, 0]);
        image(&dir.path().join("val/n02/a.JPEG.png"), 300, [255, 0, 0]);
        image(&dir.path().join("val/n01/c.jpg"), 257, [0, 0, 255]);
        fs::write(dir.path().join("val/n01/readme.txt"), "no image").unwrap();
        let folder = Arc::new(ImageFolder::open(dir.path()).unwrap());
        assert_eq!((folder.len(), folder.class_names()), (3, &["n01".to_owned(), "n02".to_owned()][..]));
        for threads in [1, 3] {
            let batches = folder.batches(2, NonZeroUsize::new(threads).unwrap()).unwrap();
            let batches: Vec<Batch> = batches.map(Result::unwrap).collect();
            assert_eq!(batches.iter().map(|batch| batch.labels.clone()).collect::<Vec<_>>(), [vec![0, 1], vec![1]]);
            assert_eq!((batches[0].height, batches[0].width, batches[0].pixels.len()), (224, 224, 2 * 224 * 224 * 3));
            // (1 - 0.406) / 0.225 and (0 - 0.485) / 0.229
            let blue = &batches[0].pixels[..3];
            assert!((blue[2] - 2.64).abs() < 0.03 && (blue[0] + 2.118).abs() < 0.03, "{blue:?}");
            assert!((batches[1].pixels[1] - 2.428_571).abs() < 1e-5);
        }
    }

    #[test]
    fn folders_that_are_not_as_expected_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refusal(&dir.path().join("none")).contains("cannot be read"));
        assert!(refusal(dir.path()).contains("no folders with images"));
        image(&dir.path().join("flat.png"), 260, [0; 3]);
        assert!(refusal(dir.path()).contains("not in a folder for each class"));
        fs::create_dir(dir.path().join("n03")).unwrap();
        assert!(refusal(dir.path()).contains("its folder n03 has no images"));
    }

    #[test]
    fn file_that_is_no_image_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("n01")).unwrap();
        fs::write(dir.path().join("n01/broken.JPEG"), b"\xff\xd8\xff and no more").unwrap();
        let folder = Arc::new(ImageFolder::open(dir.path()).unwrap());
        let error = folder.batches(1, NonZeroUsize::MIN).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(error.contains("broken.JPEG") && error.lines().count() == 1, "{error}");
    }
}
