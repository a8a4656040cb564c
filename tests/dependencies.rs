//! What the program is built from is what `deny.toml` allows: licences, versions beside each other, sources.
//!
//! The file is cargo-deny's own. Its program would bring 350 packages to compile, more than this one, and these three of its
//! checks need nothing but `cargo metadata`; advisories need its data base.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Crate>,
    skip: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

fn rules() -> Rules {
    toml::from_str(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap()).unwrap()
}

/// All packages of Cargo.lock, of every platform.
fn packages() -> Vec<Package> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).unwrap().packages
}

/// Whether an expression of the SPDX standard can be fulfilled by allowed licences: `OR` binds less than `AND`, and older
/// packages write `/` for it.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (holds, rest) = either(&words, allowed);
    assert!(rest.is_empty(), "{expression}");
    holds
}

fn either<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut holds, mut rest) = both(words, allowed);
    while let ["OR", others @ ..] = rest {
        let (other, after) = both(others, allowed);
        (holds, rest) = (holds | other, after);
    }
    (holds, rest)
}

fn both<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    let (mut holds, mut rest) = one(words, allowed);
    while let ["AND", others @ ..] = rest {
        let (other, after) = one(others, allowed);
        (holds, rest) = (holds & other, after);
    }
    (holds, rest)
}

fn one<'a>(words: &'a [&'a str], allowed: &BTreeSet<String>) -> (bool, &'a [&'a str]) {
    match words {
        ["(", inner @ ..] => match either(inner, allowed) {
            (holds, [")", rest @ ..]) => (holds, rest),
            _ => panic!("unclosed: {words:?}"),
        },
        [name, "WITH", exception, rest @ ..] => (allowed.contains(&format!("{name} WITH {exception}")), rest),
        [name, rest @ ..] => (allowed.contains(*name), rest),
        [] => panic!("an expression that ends too early"),
    }
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned));
    for expression in ["MIT", "GPL-3.0/MIT", "GPL-3.0 OR (MIT AND ISC)", "Apache-2.0 WITH LLVM-exception", "(MIT)"] {
        assert!(is_allowed(expression, &allowed), "{expression}");
    }
    for expression in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0", "GPL-3.0 OR MIT AND BSD"]
    {
        assert!(!is_allowed(expression, &allowed), "{expression}");
    }
}

#[test]
fn licences_are_allowed_ones() {
    let allowed = rules().licenses.allow;
    for package in packages() {
        let Some(license) = &package.license else { panic!("{} states no licence", package.name) };
        assert!(is_allowed(license, &allowed), "{} {}: {license}", package.name, package.version);
    }
}

#[test]
fn packages_come_from_the_registry_or_this_repository() {
    let registries: Vec<String> =
        rules().sources.allow_registry.iter().map(|address| format!("registry+{address}")).collect();
    for package in packages() {
        let is_ours = Path::new(&package.manifest_path).starts_with(env!("CARGO_MANIFEST_DIR"));
        match &package.source {
            Some(source) => assert!(registries.contains(source), "{} comes from {source}", package.name),
            None => assert!(is_ours, "{} comes from {}", package.name, package.manifest_path),
        }
    }
}

#[test]
fn versions_beside_each_other_are_known_and_banned_packages_absent() {
    let Bans { deny, skip } = rules().bans;
    assert!(deny.iter().chain(&skip).all(|entry| !entry.reason.is_empty()));
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    for Package { name, version, .. } in packages() {
        assert!(!deny.iter().any(|banned| banned.name == name), "{name} is banned in deny.toml");
        versions.entry(name).or_default().insert(version);
    }
    let mut skipped: BTreeSet<String> = skip.into_iter().map(|entry| entry.name).collect();
    for (name, versions) in &versions {
        let left: Vec<&String> =
            versions.iter().filter(|version| !skipped.remove(&format!("{name}@{version}"))).collect();
        assert!(left.len() == 1, "{name} in several versions: {left:?}; name what asks for it in deny.toml");
    }
    assert!(skipped.is_empty(), "no longer there, or alone: {skipped:?}");
}
