//! The order of modules: each uses what stands before it in `src/lib.rs`, never what stands after.

use std::fs;
use std::path::{Path, PathBuf};

/// The top-level modules, in the order of `src/lib.rs`.
fn modules() -> Vec<String> {
    let text = fs::read_to_string(source_folder().join("lib.rs")).unwrap();
    let name = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    text.lines().filter_map(name).collect()
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file under `folder`.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// `text` without comments, in one line, spaces only between words.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let spaced = lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    [" ::", ":: ", "{ ", " }", " ,", ", "].iter().fold(spaced, |code, part| code.replace(part, part.trim()))
}

/// What `code` names behind `start` (`crate::`), in groups too.
fn named_behind<'a>(code: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let is_start = |&position: &usize| !code[..position].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let positions = code.match_indices(start).map(|(position, _)| position).filter(is_start);
    let names = positions.flat_map(move |position| {
        let rest = &code[position + start.len()..];
        let named = rest.strip_prefix('{').map_or(vec![rest], items);
        named.into_iter().map(first_word)
    });
    // Behind a last comma in a group there is nothing.
    names.filter(|name| !name.is_empty())
}

/// The items of a group of imports that has just been opened.
fn items(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (position, character) in group.char_indices() {
        match character {
            ',' | '}' if depth == 0 => {
                found.push(&group[start..position]);
                start = position + 1;
                if character == '}' {
                    break;
                }
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Names in `text`, the file `inside` of the source folder, that lead to the crate's root.
fn uses(inside: &Path, text: &str) -> Vec<String> {
    let code = code(text);
    // `super::` as often as the file lies deep is the root too.
    let depth = inside.components().count() - usize::from(inside.ends_with("mod.rs"));
    let root = "super::".repeat(depth);
    named_behind(&code, "crate::").chain(named_behind(&code, &root)).map(str::to_owned).collect()
}

#[test]
fn a_module_uses_only_modules_that_stand_before_it() {
    let modules = modules();
    assert!(modules.len() > 10, "{modules:?}");
    let rank = |name: &str| modules.iter().position(|module| module == name);
    let mut num_uses = 0;
    let mut wrong = Vec::new();
    for path in rust_files(&source_folder()) {
        let inside = path.strip_prefix(source_folder()).unwrap();
        let own = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let Some(place) = rank(&own) else {
            assert!(["lib", "main"].contains(&own.as_str()), "{own} is not in lib.rs");
            continue;
        };
        for name in uses(inside, &fs::read_to_string(&path).unwrap()) {
            let Some(used) = rank(&name) else { continue };
            num_uses += 1;
            if used > place {
                wrong.push(format!("{}: {own} uses {name}, which stands after it", inside.display()));
            }
        }
    }
    assert!(num_uses > 300, "only {num_uses} uses were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_all_runs_share_in_the_trainer_knows_no_kind_of_run() {
    let trainer = source_folder().join("trainer");
    let exports = code(&fs::read_to_string(trainer.join("mod.rs")).unwrap());
    let of_kinds: Vec<&str> =
        ["search::", "retrain::", "cells::"].into_iter().flat_map(|kind| named_behind(&exports, kind)).collect();
    assert!(of_kinds.contains(&"SearchState") && of_kinds.contains(&"TrainState"), "{of_kinds:?}");
    for path in rust_files(&trainer) {
        let inside = path.strip_prefix(&trainer).unwrap();
        let kind_of_run = ["search", "retrain", "cells"].iter().any(|kind| inside.starts_with(kind));
        if kind_of_run || inside == Path::new("mod.rs") {
            continue;
        }
        let code = code(&fs::read_to_string(&path).unwrap());
        for name in ["crate::trainer::", "super::"].into_iter().flat_map(|start| named_behind(&code, start)) {
            let is_shared = !of_kinds.contains(&name) && !["search", "retrain", "cells"].contains(&name);
            assert!(is_shared, "{} uses {name}, which not all runs have", inside.display());
        }
    }
}

#[test]
fn uses_are_found_in_every_form() {
    let text = "use crate::config::{RunSection, Settings};\nuse crate::{\n    data::{Batch, Loader}, // comment\n    \
                world,\n};\nlet x = crate::torch::name(); // crate::report\nuse super::super::run::RunError;\nuse \
                mycrate::cli;";
    let found = uses(Path::new("trainer/search/mod.rs"), text);
    assert_eq!(found, ["config", "data", "world", "torch", "run"]);
    assert_eq!(uses(Path::new("trace.rs"), "use super::world::Place;"), ["world"]);
}
