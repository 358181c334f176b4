//! The licences of what the programs are linked with: most ask that their text goes with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::build::PROGRAMS;
use super::release::{Release, output};
use crate::cargo::cargo;

/// The names of all linked crates, and each licence text once, with the crates it is of.
pub(super) fn third_party(release: &Release) -> Result<String> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version", "1", "--locked", "--filter-platform"]);
    metadata.arg(&release.target).current_dir(&release.workspace);
    let metadata: Value = serde_json::from_str(&output(&mut metadata)?)?;

    let mut list = String::new();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in linked(&metadata) {
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let package = packages.clone().find(|package| package["id"] == id.as_str());
        let package = package.with_context(|| format!("no package {id}"))?;
        if package["source"].is_null() {
            continue; // of this workspace
        }
        let text = |field: &str| package[field].as_str().unwrap_or("?").to_owned();
        let name = format!("{} {}", text("name"), text("version"));
        list += &format!("  {name}: {}\n", text("license"));
        let folder = Path::new(package["manifest_path"].as_str().unwrap_or_default()).parent();
        for text in licence_texts(folder.context("a manifest has a folder")?)? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    let mut document = format!("{HEADER}{list}");
    for (text, names) in texts {
        document += &format!("\n{}\n{}\n\n{text}\n", "-".repeat(78), names.join(", "));
    }
    Ok(document)
}

const HEADER: &str = "\
echo-server and echo-client are linked with the Rust standard library (MIT OR Apache-2.0, copyright The Rust Project
contributors), on Linux with musl (MIT, copyright 2005-2020 Rich Felker and others), and with these crates. Of those
under MIT or another licence, MIT was chosen.

";

/// The packages that the programs are linked with, by their IDs.
fn linked(metadata: &Value) -> BTreeSet<String> {
    let nodes = || metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    let id = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let members = metadata["packages"].as_array().into_iter().flatten();
    let mut waiting: Vec<String> = members
        .filter(|package| PROGRAMS.iter().any(|name| package["name"] == *name))
        .map(|package| id(&package["id"]))
        .collect();
    let mut found = BTreeSet::new();
    while let Some(next) = waiting.pop() {
        if !found.insert(next.clone()) {
            continue;
        }
        let node = nodes().find(|node| node["id"] == next.as_str());
        for dependency in node.and_then(|node| node["deps"].as_array()).into_iter().flatten() {
            // A kind of null is a normal dependency, neither for builds nor for tests.
            let kinds = dependency["dep_kinds"].as_array().into_iter().flatten();
            if kinds.into_iter().any(|kind| kind["kind"].is_null()) {
                waiting.push(id(&dependency["pkg"]));
            }
        }
    }
    found
}

/// The texts of a package's licences; only MIT where there is a choice.
fn licence_texts(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let mut mit = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if !is_licence || !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path)?.replace("\r\n", "\n").trim().to_owned();
        if name.contains("MIT") {
            mit = Some(text.clone());
        }
        texts.push(text);
    }
    texts.sort();
    Ok(mit.map_or(texts, |mit| vec![mit]))
}
