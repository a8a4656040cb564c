//! Folders as users have them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::{Data, files};

/// `data check --json` of a folder: images and classes of each part.
fn counts(data: &Data, dir: &str) -> Vec<(String, u64, u64)> {
    let report = data.json(&["check", dir, "--json"]);
    let parts = report["parts"].as_array().unwrap().iter();
    parts
        .map(|part| {
            let number = |key: &str| part[key].as_u64().unwrap();
            (part["name"].as_str().unwrap().to_owned(), number("images"), number("classes"))
        })
        .collect()
}

fn both() -> Vec<(String, u64, u64)> {
    vec![("train".to_owned(), 120, 10), ("val".to_owned(), 20, 10)]
}

#[test]
fn usual_trees_are_read_as_they_are() {
    let data = Data::with_tree();
    assert_eq!(counts(&data, "tree"), both());
    let move_to = |train: &str, validation: &str| {
        let top = data.path("as");
        let _ = fs::remove_dir_all(&top);
        for (from, to) in [("tree/train", train), ("tree/val", validation)] {
            let to = top.join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            symlink(data.path(from), to).unwrap();
        }
    };
    for (train, validation) in [
        ("train", "validation"),
        ("train", "valid"),
        ("Train", "Val"),
        ("training", "test"),
        ("ILSVRC/Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/val"),
        ("imagenet/train", "imagenet/val"),
    ] {
        move_to(train, validation);
        assert_eq!(counts(&data, "as"), both(), "{train} {validation}");
    }
    // One part by itself.
    assert_eq!(counts(&data, "tree/val"), [("val".to_owned(), 20, 10)]);
}

#[test]
fn flat_validation_folder_is_read_with_its_file_of_labels() {
    let data = Data::with_tree();
    let flat = data.path("flat");
    fs::create_dir_all(flat.join("val")).unwrap();
    symlink(data.path("tree/train"), flat.join("train")).unwrap();
    let mut table = "ImageId,PredictionString\n".to_owned();
    for (number, (class, bytes)) in files(&data.path("tree/val"))
        .into_iter()
        .flat_map(|(class, images)| images.into_values().map(move |bytes| (class.clone(), bytes)))
        .enumerate()
    {
        let name = format!("ILSVRC2012_val_{:08}", number + 1);
        fs::write(flat.join(format!("val/{name}.JPEG")), bytes).unwrap();
        table += &format!("{name},{class} 1 2 3 4\n");
    }
    let (_, error) = data.fails(&["check", "flat"], 2);
    assert!(error.starts_with("flat/val has 20 images and no folders of classes"), "{error}");
    assert!(
        error.contains("LOC_val_solution.csv") && error.contains("ILSVRC2012_validation_ground_truth.txt"),
        "{error}"
    );
    fs::write(flat.join("LOC_val_solution.csv"), table).unwrap();
    assert_eq!(counts(&data, "flat"), both());
}

#[test]
fn what_is_left_out_is_told_once() {
    let data = Data::with_tree();
    let class = data.path("tree/val/n80000000_red");
    fs::create_dir_all(data.path("tree/val/.ipynb_checkpoints")).unwrap();
    fs::create_dir_all(class.join("more")).unwrap();
    fs::write(class.join("more/x.jpg"), "x").unwrap();
    fs::write(class.join("._x.jpg"), "x").unwrap();
    fs::write(class.join("x.webp"), "x").unwrap();
    fs::write(class.join("empty.jpg"), "").unwrap();
    symlink("nowhere", class.join("link.jpg")).unwrap();
    let (stdout, warnings) = data.succeeds(&["check", "tree"]);
    assert!(stdout.contains("val (folder): 20 images of 10 classes, 2 to 2 each, 0 bad"), "{stdout}");
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    for told in [
        "1 hidden",
        "1 macOS side file",
        "1 file of another format",
        "1 image one folder too deep",
        "1 link to nothing",
        "1 empty file",
    ] {
        assert!(warning.contains(told), "{told}: {warning}");
    }
}

#[test]
fn trees_that_cannot_be_used_are_refused_in_one_line_that_says_why() {
    let data = Data::with_tree();
    fs::rename(data.path("tree/val/n80000003_green"), data.path("tree/val/green")).unwrap();
    let (_, error) = data.fails(&["check", "tree"], 2);
    assert_eq!(
        error,
        "tree/val has other classes than tree/train: it lacks 1 (n80000003_green) and has 1 more (green); both need the \
         same folders"
    );
    fs::create_dir_all(data.path("nothing/a/b")).unwrap();
    let (_, error) = data.fails(&["check", "nothing"], 2);
    assert!(error.contains("images are expected in a folder for each class"), "{error}");
    fs::create_dir_all(data.path("empty")).unwrap();
    let (_, error) = data.fails(&["check", "empty"], 2);
    assert!(error.starts_with("empty has no folders with images; it holds nothing"), "{error}");
    symlink("..", data.path("tree/train/up")).unwrap();
    let (_, error) = data.fails(&["check", "tree"], 2);
    assert!(error.contains("tree/train/up is a link to"), "{error}");
}

#[test]
fn archives_left_beside_the_folders_that_were_unpacked_from_them_change_nothing() {
    let data = Data::with_tree();
    for class in crate::program::names(&data.path("tree/train")) {
        std::fs::write(data.path("tree/train").join(format!("{class}.tar")), "as it was downloaded").unwrap();
    }
    assert_eq!(counts(&data, "tree"), both());
}

#[test]
fn names_of_files_and_folders_may_be_any_but_a_class_is_named_in_text() {
    let data = Data::with_tree();
    let class = data.path("tree/val/n80000001_orange");
    let image = fs::read(class.join(&crate::program::names(&class)[0])).unwrap();
    for name in [
        &b"with space.jpg"[..],
        "\u{fc}n\u{ef} \u{1f4f7}.JPG".as_bytes(),
        b"new\nline.Jpeg",
        b"not\xfftext.jpg",
        b"a.b.c.jpg",
    ] {
        fs::write(class.join(OsStr::from_bytes(name)), &image).unwrap();
    }
    assert_eq!(counts(&data, "tree")[1].1, 25);
    data.succeeds(&["pack", "--from", "tree", "--to", "packed"]);
    assert_eq!(counts(&data, "packed")[1].1, 25);
    for part in ["train", "val"] {
        let folder = data.path("tree").join(part).join(OsStr::from_bytes(b"n9\xff"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("0.jpg"), &image).unwrap();
    }
    let (_, error) = data.fails(&["check", "tree"], 2);
    assert_eq!(error, "tree/train has a folder n9\u{fffd} whose name is not UTF-8: rename it, for it names a class");
}

#[test]
fn folders_of_one_class_or_of_other_formats_are_told() {
    let data = Data::with_tree();
    for part in ["train", "val"] {
        for class in crate::program::names(&data.path("tree").join(part)).into_iter().skip(1) {
            fs::remove_dir_all(data.path("tree").join(part).join(class)).unwrap();
        }
    }
    let (_, warnings) = data.succeeds(&["check", "tree"]);
    let told = "tree/train has a single class (n80000000_red): there is nothing to tell apart";
    assert!(warnings.len() == 1 && warnings[0].ends_with(told), "{warnings:?}");
    for part in ["train", "val"] {
        fs::create_dir_all(data.path("tree").join(part).join("web")).unwrap();
        fs::write(data.path("tree").join(part).join("web/x.webp"), "RIFF").unwrap();
    }
    let (_, error) = data.fails(&["check", "tree"], 2);
    assert_eq!(
        error,
        "tree/train has no images in its folder web, which holds 1 file of another format (x.webp); JPEG and PNG files are \
         read: convert those of other formats"
    );
}

#[test]
fn label_file_that_counts_from_1_is_told() {
    let data = Data::with_tree();
    let flat = data.path("flat");
    fs::create_dir_all(flat.join("val")).unwrap();
    symlink(data.path("tree/train"), flat.join("train")).unwrap();
    let images = files(&data.path("tree/val")).into_values().flat_map(|images| images.into_values()).enumerate();
    for (number, bytes) in images {
        fs::write(flat.join(format!("val/{number:02}.JPEG")), bytes).unwrap();
    }
    let write = |label: &dyn Fn(usize) -> usize| {
        let lines: String = (0..20).map(|number| format!("{number:02}.JPEG {}\n", label(number))).collect();
        fs::write(flat.join("val.txt"), lines).unwrap();
    };
    write(&|number| number / 2 + 1);
    let (_, error) = data.fails(&["check", "flat"], 2);
    assert!(error.starts_with("flat/val.txt entry 19 has class 10, which is none of the 10 classes ("), "{error}");
    assert!(error.ends_with("labels are expected from 0, and these look counted from 1: give each 1 less"), "{error}");
    // Some classes alone are legitimate.
    write(&|number| number / 4 * 2);
    let (_, warnings) = data.succeeds(&["check", "flat"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("flat/val: 5 of 10 classes have no images (n80000001_orange, "), "{warnings:?}");
    assert!(warnings[0].ends_with("labels are 0, 2, 4, 6, ... 8"), "{warnings:?}");
    let lines = fs::read_to_string(flat.join("val.txt")).unwrap();
    fs::write(flat.join("val.txt"), lines + "07.JPEG 5\n").unwrap();
    let (_, error) = data.fails(&["check", "flat"], 2);
    assert_eq!(error, "flat/val.txt gives 07 two classes, 5 the last: an image has one");
    write(&|number| number / 2);
    assert_eq!(data.succeeds(&["check", "flat"]).1, [""; 0]);
}
