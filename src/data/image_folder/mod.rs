//! Images in files, a folder for each class: ImageNet's validation set as torchvision's `ImageFolder` expects it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Colours, DataError, Source, StoredImage};

const EXTENSIONS: [&str; 3] = ["jpeg", "jpg", "png"];

/// The files of a data set and their classes, which are numbered in the order of their folders' names.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    /// In the order of classes, then of names.
    files: Vec<(PathBuf, u32)>,
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
            found.files.extend(images.into_iter().map(|path| (path, found.classes.len() as u32)));
            found.classes.push(name);
        }
        Ok(found)
    }
}

impl Source for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: u32) -> Option<u32> {
        self.files.get(index as usize).map(|(_, label)| *label)
    }

    fn read<'a>(&'a self, index: u32, buffer: &'a mut Vec<u8>) -> Result<StoredImage<'a>, DataError> {
        let (path, _) = self.files.get(index as usize).ok_or(DataError::SampleOutOfRange { index, len: self.len() })?;
        buffer.clear();
        File::open(path)
            .and_then(|mut file| file.read_to_end(buffer))
            .map_err(|error| DataError::Image { location: path.display().to_string(), reason: error.to_string() })?;
        Ok(StoredImage::Encoded(buffer))
    }

    fn location(&self, index: u32) -> String {
        let file = self.files.get(index as usize);
        file.map_or_else(|| format!("image {index}"), |(path, _)| path.display().to_string())
    }

    /// Of the names of files within their folders and of the classes.
    fn fingerprint(&self) -> String {
        let mut hasher = Sha256::new();
        for (path, label) in &self.files {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
            hasher.update(label.to_le_bytes());
        }
        for class in &self.classes {
            hasher.update(class);
            hasher.update([0]);
        }
        format!("{:x}", hasher.finalize())
    }

    fn colours(&self) -> Colours {
        Colours::IMAGENET
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
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    use super::*;
    use crate::data::{Batch, Batches, CentreView, Loader, Sampler, Shard};

    fn batches(folder: Arc<ImageFolder>, global_batch: usize, num_threads: usize) -> Batches {
        let sampler = Sampler::sequential(0..folder.len() as u32, global_batch, Shard::WHOLE).unwrap();
        let num_threads = NonZeroUsize::new(num_threads).unwrap();
        let loader = Loader::new(folder, sampler, Arc::new(CentreView::IMAGENET), num_threads);
        loader.batches(0, 0..loader.num_steps()).unwrap()
    }

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
        let folder = ImageFolder::open(dir.path()).unwrap();
        assert_eq!((folder.len(), folder.class_names()), (3, &["n01".to_owned(), "n02".to_owned()][..]));
        assert_eq!([0, 1, 2, 3].map(|index| folder.label(index)), [Some(0), Some(1), Some(1), None]);
        assert!(folder.location(1).ends_with("val/n02/a.JPEG.png"));
        let mut buffer = vec![7; 10];
        let file = fs::read(dir.path().join("val/n02/b.png")).unwrap();
        assert!(folder.read(2, &mut buffer).unwrap() == StoredImage::Encoded(&file));
        let before = folder.fingerprint();
        assert_eq!(ImageFolder::open(dir.path()).unwrap().fingerprint(), before);
        fs::rename(dir.path().join("val/n02/b.png"), dir.path().join("val/n01/b.png")).unwrap();
        assert_ne!(ImageFolder::open(dir.path()).unwrap().fingerprint(), before);
    }

    #[test]
    fn loader_makes_batches_of_their_middle() {
        let dir = tempfile::tempdir().unwrap();
        image(&dir.path().join("val/n01/c.jpg"), 257, [0, 0, 255]);
        image(&dir.path().join("val/n02/a.JPEG.png"), 300, [255, 0, 0]);
        image(&dir.path().join("val/n02/b.png"), 300, [0, 255, 0]);
        for threads in [1, 3] {
            let folder = Arc::new(ImageFolder::open(dir.path()).unwrap());
            let batches: Vec<Batch> = batches(folder, 2, threads).map(Result::unwrap).collect();
            assert_eq!(batches.iter().map(|batch| batch.labels().to_vec()).collect::<Vec<_>>(), [vec![0, 1], vec![1]]);
            let pixels: Vec<u8> = batches[0].pixels().flatten().copied().collect();
            assert_eq!((batches[0].side(), pixels.len()), (224, 2 * 224 * 224 * 3));
            assert!(pixels[0] < 3 && pixels[1] < 3 && pixels[2] > 252, "{:?}", &pixels[..3]);
            assert_eq!(batches[1].pixels().next().unwrap()[..3], [0, 255, 0]);
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
        let error = batches(folder, 1, 1).next().unwrap().unwrap_err().to_string();
        assert!(error.contains("broken.JPEG") && error.lines().count() == 1, "{error}");
    }
}
