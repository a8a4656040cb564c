//! Folders as users have them.

use std::fs;
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
