//! What the documents say can be done as they say it: commands parse, files and links are there, keys and messages are
//! the program's.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use pdarts::config::{CompareConfig, SearchConfig, Settings, TrainConfig};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_in(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|found| found == extension) => files.push(path),
                false => {}
            }
        }
    }
    files.sort();
    files
}

/// README and all pages, each with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let paths = files_in("docs", "md").into_iter().chain([root().join("README.md")]);
    paths.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// A call of the program as it stands in a document.
#[derive(Debug)]
struct Call {
    words: Vec<String>,
    /// In a block it can be copied; in a sentence it may be a part of a call.
    is_whole: bool,
}

/// The calls in a document, wherever it has code.
fn calls(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut is_block = false;
    for line in text.replace("\\\n", " ").lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if is_block || line.starts_with("    ") {
            calls.extend(call(line.split(" #").next().unwrap_or_default(), true));
        } else {
            calls.extend(
                line.split('`').skip(1).step_by(2).flat_map(alternatives).filter_map(|code| call(&code, false)),
            );
        }
    }
    calls
}

/// `pdarts genotype list|show` is two calls.
fn alternatives(code: &str) -> Vec<String> {
    let Some(word) = code.split(' ').find(|word| word.contains('|') && word.len() > 1) else {
        return vec![code.to_owned()];
    };
    word.split('|').map(|one| code.replacen(word, one, 1)).collect()
}

fn call(code: &str, is_whole: bool) -> Option<Call> {
    let mut words = code.split(['>', '|']).next()?.split_whitespace().skip_while(|word| {
        // Launchers and variables stand before the program.
        ["mpirun", "srun", "-n", "--mpi=pmix"].contains(word) || word.parse::<u16>().is_ok() || *word == "N"
    });
    let program = words.next()?;
    // The launcher has options of its own.
    if program.ends_with("launch/mpirun.sh") && words.clone().next().is_some_and(|word| word.starts_with('-')) {
        return None;
    }
    let is_program = program.rsplit('/').next() == Some("pdarts") || program.ends_with("launch/mpirun.sh");
    let words: Vec<String> = words.filter(|word| !word.contains("...")).map(str::to_owned).collect();
    (is_program && !words.is_empty()).then_some(Call { words, is_whole })
}

/// What the program would say of `call`; nothing if it would take it.
fn refusal(call: &Call) -> Option<String> {
    let words = ["pdarts"].into_iter().chain(call.words.iter().map(String::as_str));
    let error = pdarts::cli::command().try_get_matches_from(words).err()?;
    let is_placeholder = |value: &str| !value.is_empty() && value.chars().all(|c| c.is_ascii_uppercase());
    let invalid = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !call.is_whole => {
            None
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
            if is_placeholder(invalid) || !call.is_whole && invalid.is_empty() =>
        {
            None
        }
        _ => Some(error.to_string()),
    }
}

#[test]
fn commands_are_those_of_the_program() {
    let mut num_calls = 0;
    for (path, text) in documents() {
        for call in calls(&text) {
            num_calls += 1;
            if let Some(refusal) = refusal(&call) {
                panic!("{}: {call:?}: {refusal}", path.display());
            }
        }
    }
    assert!(num_calls > 60, "only {num_calls} calls were found");
    let found = calls("`pdarts genotype list|shew` and\n```sh\nmpirun -n 2 target/release/pdarts eval   # x\n```\n");
    let refused: Vec<bool> = found.iter().map(|call| refusal(call).is_some()).collect();
    assert_eq!(refused, [false, true, true]);
}

/// `x{1,2}.toml` is two names.
fn names(word: &str) -> Vec<String> {
    let parts = word.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    match parts {
        None => vec![word.to_owned()],
        Some((before, (choices, after))) => {
            choices.split(',').flat_map(|choice| names(&format!("{before}{choice}{after}"))).collect()
        }
    }
}

/// Whether something is at `path`, in which a `*` stands for any text within a name.
fn exists(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((before, after)) = name.split_once('*') else { return path.exists() };
    let entries = fs::read_dir(path.parent().unwrap()).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .any(|found| found.len() >= before.len() + after.len() && found.starts_with(before) && found.ends_with(after))
}

#[test]
fn files_that_documents_name_are_there() {
    let mut num_files = 0;
    for (path, text) in documents() {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "_./*-{,}".contains(c))) {
            let is_ours = ["configs/", "launch/", "benches/", "tests/", "examples/", "src/"]
                .iter()
                .any(|folder| word.starts_with(folder));
            let word = word.trim_end_matches(['.', '/', ',']);
            if is_ours && word.contains('/') {
                num_files += 1;
                for name in names(word) {
                    assert!(exists(&root().join(&name)), "{}: there is no {name}", path.display());
                }
            }
        }
    }
    assert!(num_files > 40, "only {num_files} files were found");
    assert!(exists(&root().join("configs/train-*.toml")) && !exists(&root().join("configs/train-*.json")));
}

/// The anchors of a page's headings, as mdBook and GitHub make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(slug).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut num_links = 0;
    for (path, text) in documents() {
        // A link may be broken over two lines.
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            num_links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.is_file(), "{}: {link}", path.display());
            let known =
                anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).iter().any(|known| known == anchor);
            assert!(known, "{}: {link}", path.display());
            // The site holds nothing else.
            let is_page = path.parent().unwrap().ends_with("docs");
            assert!(
                !is_page || target.canonicalize().unwrap().starts_with(root().join("docs")),
                "{}: {link}",
                path.display()
            );
        }
    }
    assert!(num_links > 40, "only {num_links} links were found");
}

#[test]
fn every_page_is_in_the_contents() {
    let contents = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    for page in files_in("docs", "md") {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name == "SUMMARY.md" || contents.contains(&format!("]({name})")), "{name}");
    }
}

#[test]
fn pages_of_keys_are_what_the_program_prints() {
    for (name, page, call) in [
        ("docs/search-keys.md", SearchConfig::markdown().unwrap(), "pdarts config show --markdown"),
        ("docs/compare-keys.md", CompareConfig::markdown().unwrap(), "pdarts config show --kind compare --markdown"),
        ("docs/train-keys.md", TrainConfig::markdown().unwrap(), "pdarts config show --kind train --markdown"),
    ] {
        let found = fs::read_to_string(root().join(name)).unwrap();
        assert!(found == page, "{name} is of another schema: {call} > {name}");
    }
}

#[test]
fn messages_are_those_of_the_program() {
    let sources: String = files_in("src", "rs").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    // Texts go on in the next line behind a backslash; what they quote is escaped.
    let mut pieces = sources.split("\\\n");
    let first = pieces.next().unwrap_or_default().to_owned();
    let joined = pieces.fold(first, |joined, piece| joined + piece.trim_start()).replace("\\\"", "\"");
    for (page, section, before, behind, at_least) in [
        ("docs/errors.md", "", "| `", "` |", 31),
        ("docs/operations.md", "\n## Failures\n", "| `", "` |", 8),
        ("docs/parallel.md", "\n## When a run hangs or ends\n", "- `", "`", 4),
    ] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let text = text.split_once(section).unwrap_or_else(|| panic!("{page} has no section {section}")).1;
        let text = if section.is_empty() { text } else { text.split("\n## ").next().unwrap_or_default() };
        let messages = text.lines().filter_map(|line| line.strip_prefix(before)?.split(behind).next());
        let messages: Vec<&str> = messages.collect();
        assert!(messages.len() >= at_least, "{page}: {messages:?}");
        for message in messages {
            for part in message.split('…').map(str::trim).filter(|part| part.len() > 3) {
                assert!(joined.contains(part), "{page}: no message has: {part}");
            }
        }
    }
}
