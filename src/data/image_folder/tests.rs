use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use super::*;
use crate::data::{Batch, Batches, CentreView, Loader, RankShare, Sampler};

fn batches(folder: Arc<ImageFolder>, global_batch: usize, num_threads: usize) -> Batches {
    let sampler = Sampler::sequential(0..folder.len() as u32, global_batch, RankShare::WHOLE).unwrap();
    let num_threads = NonZeroUsize::new(num_threads).unwrap();
    let loader = Loader::new(folder, sampler, Arc::new(CentreView::IMAGENET), num_threads);
    loader.batches(0, 0..loader.num_steps()).unwrap()
}

fn image(path: &Path, width: u32, colour: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(width, 260, image::Rgb(colour)).save(path).unwrap();
}

/// Files with something in them, at these paths below a folder of their own.
fn tree(paths: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    add(dir.path(), paths);
    dir
}

fn add(dir: &Path, paths: &[&str]) {
    for path in paths {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "something").unwrap();
    }
}

fn refusal(dir: &Path, split: Split) -> String {
    let message = ImageFolder::open(dir, split).unwrap_err().to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// Names of files with the names of their classes.
fn labels(dir: &Path, split: Split) -> Vec<(String, String)> {
    let folder = ImageFolder::open(dir, split).unwrap();
    let name = |index| folder.path(index).unwrap().file_name().unwrap().to_string_lossy().into_owned();
    let class = |index| folder.class_names()[folder.label(index).unwrap() as usize].clone();
    assert!(folder.path(folder.len() as u32).is_none() && folder.label(folder.len() as u32).is_none());
    (0..folder.len() as u32).map(|index| (name(index), class(index))).collect()
}

fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, class)| ((*name).to_owned(), (*class).to_owned())).collect()
}

#[test]
fn images_come_with_the_classes_of_their_folders() {
    let dir = tempfile::tempdir().unwrap();
    image(&dir.path().join("val/n02/b.png"), 300, [0, 255, 0]);
    image(&dir.path().join("val/n02/a.JPEG.png"), 300, [255, 0, 0]);
    image(&dir.path().join("val/n01/c.jpg"), 257, [0, 0, 255]);
    fs::write(dir.path().join("val/n01/readme.txt"), "no image").unwrap();
    for threads in [1, 3] {
        let folder = Arc::new(ImageFolder::open(dir.path(), Split::Test).unwrap());
        assert_eq!((folder.len(), folder.class_names()), (3, &["n01".to_owned(), "n02".to_owned()][..]));
        let batches: Vec<Batch> = batches(folder, 2, threads).map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(|batch| batch.labels().to_vec()).collect::<Vec<_>>(), [vec![0, 1], vec![1]]);
        let pixels: Vec<u8> = batches[0].pixels().flatten().copied().collect();
        assert_eq!((batches[0].side(), pixels.len()), (224, 2 * 224 * 224 * 3));
        assert!(pixels[0] < 3 && pixels[1] < 3 && pixels[2] > 252, "{:?}", &pixels[..3]);
        assert_eq!(batches[1].pixels().next().unwrap()[..3], [0, 255, 0]);
    }
}

#[test]
fn file_that_is_no_image_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("n01")).unwrap();
    fs::write(dir.path().join("n01/broken.JPEG"), b"\xff\xd8\xff and no more").unwrap();
    let folder = Arc::new(ImageFolder::open(dir.path(), Split::Test).unwrap());
    let error = batches(folder, 1, 1).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("broken.JPEG") && error.lines().count() == 1, "{error}");
}

#[test]
fn folders_are_found_under_the_names_that_people_give_them() {
    for (train, validation) in [("train", "val"), ("Train", "validation"), ("training", "valid"), ("TRAIN", "Test")] {
        for base in ["", "ILSVRC/Data/CLS-LOC/", "CLS-LOC/", "imagenette2/", "x/ILSVRC/Data/CLS-LOC/"] {
            let [a, b, c] = [
                format!("{base}{train}/n1/a.jpg"),
                format!("{base}{train}/n2/b.JPEG"),
                format!("{base}{validation}/n1/c.jpg"),
            ];
            let d = format!("{base}{validation}/n2/d.PNG");
            let dir = tree(&[&a, &b, &c, &d]);
            assert_eq!(labels(dir.path(), Split::Train), expected(&[("a.jpg", "n1"), ("b.JPEG", "n2")]));
            assert_eq!(labels(dir.path(), Split::Test), expected(&[("c.jpg", "n1"), ("d.PNG", "n2")]));
        }
    }
    let both = tree(&["train/n/a.jpg", "val/n/b.jpg", "test/c.jpg"]);
    assert_eq!(labels(both.path(), Split::Test), expected(&[("b.jpg", "n")]));
    // The folder of one part by itself, as `eval` takes it.
    assert_eq!(labels(&both.path().join("val"), Split::Test), expected(&[("b.jpg", "n")]));
    assert!(refusal(&both.path().join("val"), Split::Train).contains("has no training images (train/)"));
}

#[test]
fn what_is_not_used_is_counted_and_told_in_one_line() {
    let dir = tree(&[
        "val/n1/a.jpg",
        "val/n1/._a.jpg",
        "val/n1/.DS_Store",
        "val/n1/b.gif",
        "val/n1/notes.txt",
        "val/n1/more/c.jpg",
        "val/n1/more/d.jpg",
        "val/.ipynb_checkpoints/e.jpg",
        "val/__MACOSX/n1/f.jpg",
        "val/stray.jpg",
        "val/readme.md",
    ]);
    fs::write(dir.path().join("val/n1/empty.jpg"), "").unwrap();
    symlink("nowhere.jpg", dir.path().join("val/n1/dangling.jpg")).unwrap();
    symlink("round.jpg", dir.path().join("val/n1/round.jpg")).unwrap();
    let folder = ImageFolder::open(dir.path(), Split::Test).unwrap();
    assert_eq!((folder.len(), folder.class_names()), (1, &["n1".to_owned()][..]));
    let [note] = folder.notes() else { panic!("{:?}", folder.notes()) };
    let (_, note) = note.split_once(": left out ").unwrap();
    assert_eq!(
        note,
        "1 hidden file or folder (.ipynb_checkpoints), 3 macOS side files (as __MACOSX), 3 files of other formats (as \
         n1/b.gif), 2 images one folder too deep (as n1/more/c.jpg), 1 image beside the folders of classes (stray.jpg), \
         2 links to nothing (as n1/dangling.jpg), 1 empty file (n1/empty.jpg)"
    );
}

#[test]
fn links_to_files_and_folders_are_followed_and_loops_refused() {
    let dir = tree(&["store/x.jpg", "store/deep/y.jpg", "val/n2/z.jpg"]);
    symlink("../store", dir.path().join("val/n1")).unwrap();
    symlink("../../store/x.jpg", dir.path().join("val/n2/w.jpg")).unwrap();
    assert_eq!(labels(dir.path(), Split::Test), expected(&[("x.jpg", "n1"), ("w.jpg", "n2"), ("z.jpg", "n2")]));
    for (link, target) in [("val/n3", "."), ("val/n3", ".."), ("val/n2/up", "../..")] {
        symlink(target, dir.path().join(link)).unwrap();
        assert!(refusal(dir.path(), Split::Test).contains("remove the link"));
        fs::remove_file(dir.path().join(link)).unwrap();
    }
}

#[test]
fn folders_that_are_not_as_expected_say_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(&dir.path().join("none"), Split::Test).contains("cannot be read"));
    let message = refusal(dir.path(), Split::Test);
    assert!(message.contains("has no folders with images; it holds nothing; images are expected"), "{message}");
    add(dir.path(), &["n03/notes.txt", "n03/one/a.jpg"]);
    let message = refusal(dir.path(), Split::Test);
    assert!(message.contains("has no images in its folder n03, which holds 1 folder (one)"), "{message}");
    assert!(message.contains("1 image one folder too deep (one/a.jpg)"), "{message}");
    add(dir.path(), &["archive.tar"]);
    assert!(refusal(&dir.path().join("archive.tar"), Split::Test).contains("is a tar file: name the folder"));
    let flat = tree(&["train/a.jpg", "train/b.jpg"]);
    let message = refusal(flat.path(), Split::Train);
    assert!(message.contains("not in a folder for each class; it holds 2 images (as a.jpg)"), "{message}");
    let message = refusal(&flat.path().join("train"), Split::Test);
    assert!(message.contains("LOC_val_solution.csv") && message.contains("has 2 images"), "{message}");
    let archives = tree(&["train/n01.tar", "train/n02.tar"]);
    assert!(refusal(archives.path(), Split::Train).contains("pdarts data pack --from"));
}

#[test]
fn classes_that_differ_between_the_parts_are_named() {
    let dir = tree(&["train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/a/1.jpg", "val/d/1.jpg", "val/e/1.jpg"]);
    let message = refusal(dir.path(), Split::Test);
    assert!(message.contains("it lacks 2 (b, c) and has 2 more (d, e)"), "{message}");
    assert_eq!(ImageFolder::open(dir.path(), Split::Train).unwrap().len(), 3);
}

#[test]
fn numbers_are_ordered_as_text_and_that_is_said() {
    let dir = tree(&["val/1/a.jpg", "val/2/b.jpg", "val/10/c.jpg"]);
    let folder = ImageFolder::open(dir.path(), Split::Test).unwrap();
    assert_eq!(folder.class_names(), ["1", "10", "2"]);
    assert!(folder.notes()[0].contains("class 10 has the label 1, class 2 the label 2"), "{:?}", folder.notes());
    let padded = tree(&["val/01/a.jpg", "val/02/b.jpg", "val/10/c.jpg"]);
    assert_eq!(ImageFolder::open(padded.path(), Split::Test).unwrap().notes(), [""; 0]);
}

const FLAT: [&str; 5] = [
    "train/n02119789/x.jpg",
    "train/n02100735/y.jpg",
    "val/ILSVRC2012_val_00000001.JPEG",
    "val/ILSVRC2012_val_00000002.JPEG",
    "val/ILSVRC2012_val_00000003.JPEG",
];

fn flat_labels() -> Vec<(String, String)> {
    expected(&[
        ("ILSVRC2012_val_00000001.JPEG", "n02119789"),
        ("ILSVRC2012_val_00000002.JPEG", "n02100735"),
        ("ILSVRC2012_val_00000003.JPEG", "n02119789"),
    ])
}

#[test]
fn flat_validation_images_get_their_labels_from_every_known_file() {
    let csv = "ImageId,PredictionString\nILSVRC2012_val_00000003,n02119789 1 2 3 4 \nILSVRC2012_val_00000001,n02119789 \
               111 108 441 193 n02119789 1 1 2 2\r\nILSVRC2012_val_00000002,n02100735 85 1 499 272\n";
    // In the order of names, n02100735 is class 0.
    let caffe = "ILSVRC2012_val_00000001.JPEG 1\nILSVRC2012_val_00000002.JPEG 0\nval/ILSVRC2012_val_00000003.JPEG 1\n";
    let named = "\u{feff}ILSVRC2012_val_00000001.JPEG n02119789\nILSVRC2012_val_00000002.JPEG n02100735\n\
                 ILSVRC2012_val_00000003.JPEG\tn02119789\n";
    let files = [
        ("LOC_val_solution.csv", csv),
        ("val/LOC_val_solution.csv", csv),
        ("val.txt", caffe),
        ("caffe_ilsvrc12/val.txt", caffe),
        ("val.txt", named),
        ("imagenet_2012_validation_synset_labels.txt", "n02119789\nn02100735\nn02119789\n"),
    ];
    for (name, text) in files {
        let dir = tree(&FLAT);
        add(dir.path(), &[name]);
        fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(labels(dir.path(), Split::Test), flat_labels(), "{name}");
    }
}

#[test]
fn devkit_numbers_mean_what_the_devkit_says() {
    let dir = tree(&FLAT);
    let data = dir.path().join("ILSVRC2012_devkit_t12/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("ILSVRC2012_validation_ground_truth.txt"), "1\n2\n1\n").unwrap();
    // Without the devkit's table they are numbers in the order of names, which is said.
    let folder = ImageFolder::open(dir.path(), Split::Test).unwrap();
    assert_eq!((0..3).map(|index| folder.label(index).unwrap()).collect::<Vec<_>>(), [0, 1, 0]);
    assert!(folder.notes()[0].contains("no meta.mat"), "{:?}", folder.notes());
    for form in ["meta.mat", "meta-compressed.mat"] {
        let fixture = format!("{}/tests/fixtures/devkit/{form}", env!("CARGO_MANIFEST_DIR"));
        fs::copy(fixture, data.join("meta.mat")).unwrap();
        assert_eq!(labels(dir.path(), Split::Test), flat_labels());
    }
    fs::write(data.join("meta.mat"), [b'x'; 500]).unwrap();
    assert!(refusal(dir.path(), Split::Test).contains("meta.mat is not the devkit's file"));
    fs::remove_file(data.join("meta.mat")).unwrap();
    fs::write(data.join("map_clsloc.txt"), "n02119789 1 kit_fox\nn02100735 2 English_setter\n").unwrap();
    assert_eq!(labels(dir.path(), Split::Test), flat_labels());
    // Of ImageNet's own classes nothing is guessed.
    fs::remove_file(data.join("map_clsloc.txt")).unwrap();
    fs::remove_dir_all(dir.path().join("train")).unwrap();
    assert!(refusal(dir.path(), Split::Test).contains("put its meta.mat"));
}

#[test]
fn kaggle_and_tiny_imagenet_are_read_as_they_unpack() {
    let dir = tree(&[
        "ILSVRC/Data/CLS-LOC/train/n02119789/x.JPEG",
        "ILSVRC/Data/CLS-LOC/train/n02100735/y.JPEG",
        "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG",
        "ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_00000001.JPEG",
        "ILSVRC/ImageSets/CLS-LOC/val.txt",
        "LOC_synset_mapping.txt",
    ]);
    fs::write(
        dir.path().join("LOC_val_solution.csv"),
        "ImageId,PredictionString\nILSVRC2012_val_00000001,n02119789 1\n",
    )
    .unwrap();
    let found = expected(&[("ILSVRC2012_val_00000001.JPEG", "n02119789")]);
    for part in ["", "ILSVRC", "ILSVRC/Data/CLS-LOC"] {
        assert_eq!(labels(&dir.path().join(part), Split::Test), found, "{part}");
    }
    // Validation images alone, with the list of classes.
    fs::remove_dir_all(dir.path().join("ILSVRC/Data/CLS-LOC/train")).unwrap();
    fs::write(dir.path().join("LOC_synset_mapping.txt"), "n02100735 English setter\nn02119789 kit fox\n").unwrap();
    assert_eq!(labels(dir.path(), Split::Test), found);
    assert_eq!(ImageFolder::open(dir.path(), Split::Test).unwrap().class_names().len(), 2);

    let tiny = tree(&[
        "train/n1/images/n1_0.JPEG",
        "train/n2/images/n2_0.JPEG",
        "train/n1/n1_boxes.txt",
        "val/images/val_0.JPEG",
    ]);
    fs::write(tiny.path().join("val/val_annotations.txt"), "val_0.JPEG\tn2\t0\t32\t44\t62\n").unwrap();
    assert_eq!(labels(tiny.path(), Split::Train), expected(&[("n1_0.JPEG", "n1"), ("n2_0.JPEG", "n2")]));
    assert_eq!(labels(tiny.path(), Split::Test), expected(&[("val_0.JPEG", "n2")]));
}

#[test]
fn label_files_that_do_not_fit_are_refused_with_the_line() {
    let dir = tree(&FLAT);
    let lines = [
        ("n02119789\nn02100735\n", "has 2 labels"),
        ("n02119789\nn02100735\nn99999999\n", "entry 3 has class n99999999, which is none of the 2 classes"),
        ("n02119789 1\n", "line 1 is `n02119789 1`, expected one class"),
        ("\n\n", "has no labels"),
    ];
    for (text, problem) in lines {
        fs::write(dir.path().join("imagenet_2012_validation_synset_labels.txt"), text).unwrap();
        assert!(refusal(dir.path(), Split::Test).contains(problem), "{}", refusal(dir.path(), Split::Test));
    }
    let lines = [
        ("ILSVRC2012_val_00000001.JPEG 0\n", "has no label for 2 of the 3 images"),
        ("ILSVRC2012_val_00000001.JPEG 2\n", "entry 1 has class 2, which is none of the 2 classes"),
        ("ILSVRC2012_val_00000001.JPEG\n", "expected an image's name and its class"),
    ];
    for (text, problem) in lines {
        fs::write(dir.path().join("val.txt"), text).unwrap();
        fs::remove_file(dir.path().join("imagenet_2012_validation_synset_labels.txt")).ok();
        assert!(refusal(dir.path(), Split::Test).contains(problem), "{}", refusal(dir.path(), Split::Test));
    }
    fs::write(dir.path().join("val.txt"), b"\xff\xfe\x00").unwrap();
    assert!(refusal(dir.path(), Split::Test).contains("is not text"));
}
