//! The files of a CIFAR data set in an archive, told by its content whatever its name: `.tar.gz` or a plain `.tar`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use super::find::NamedBytes;
use super::{Cifar, Release};
use crate::data::packing::Packing;
use crate::data::{DataError, Split};

/// More than any of the archives unpacks to: what goes on further is not looked at, for a small file can go on for long.
const MOST_BYTES: u64 = 512 << 20;

/// Whether the file at `path` is an archive of any kind.
pub(super) fn is_archive(path: &Path) -> bool {
    File::open(path).and_then(|file| Packing::at(&file, 0)).is_ok_and(|packing| packing.is_some())
}

/// The files of one split in the archive `path`, and the release that they are of.
pub(super) fn read<'a>(cifar: &'a Cifar, path: &Path, split: Split) -> Result<(&'a Release, NamedBytes), DataError> {
    let open = || File::open(path).map_err(|source| DataError::Read { path: path.into(), source });
    let file = open()?;
    let wanted: Vec<&str> = cifar.releases.iter().flat_map(|release| release.files(split).names).copied().collect();
    let most_bytes = cifar.releases.iter().map(|release| release.most_bytes(split)).max().unwrap_or(0);
    let members = match Packing::at(&file, 0).map_err(|source| DataError::Read { path: path.into(), source })? {
        Some(Packing::Tar) => unpack(BufReader::new(file), &wanted, most_bytes),
        Some(Packing::Gzip) | None => unpack(GzDecoder::new(BufReader::new(file)), &wanted, most_bytes),
        Some(packing) => return Err(DataError::Packing { path: path.into(), packing: packing.words() }),
    };
    let mut members = members.map_err(|source| DataError::Archive { path: path.into(), source })?;
    let count = |release: &Release| {
        let is_there = |name: &&&str| members.iter().any(|(found, _)| found.ends_with(name));
        release.files(split).names.iter().filter(is_there).count()
    };
    let release = cifar.releases.iter().max_by_key(|release| count(release)).filter(|release| count(release) > 0);
    // The first release is the one that messages speak of.
    let release = release.unwrap_or(&cifar.releases[0]);
    let take = |name: &&str| match members.iter().position(|(found, _)| found.ends_with(name)) {
        Some(position) => {
            let (member, bytes) = members.swap_remove(position);
            Ok((path.join(member), bytes))
        }
        None => {
            let member = Path::new(release.folder).join(name).display().to_string();
            Err(DataError::ArchiveMember { path: path.into(), member })
        }
    };
    Ok((release, release.files(split).names.iter().map(take).collect::<Result<_, _>>()?))
}

/// The members of a tar that are called one of `names`, in any folder, in the archive's order; each once, and none may
/// have more than `most_bytes`.
fn unpack(reader: impl Read, names: &[&str], most_bytes: u64) -> io::Result<NamedBytes> {
    let mut archive = tar::Archive::new(reader.take(MOST_BYTES));
    let mut members: NamedBytes = Vec::new();
    // Raw: the library would read long names and attributes into memory, however long they are; these names are short.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let path = entry.header().path()?.into_owned();
        let is_new = || members.iter().all(|(found, _)| *found != path);
        if entry.header().entry_type().is_file() && names.iter().any(|name| path.ends_with(name)) && is_new() {
            if entry.size() > most_bytes {
                return Err(io::Error::other(format!(
                    "{} has {} bytes, at most {most_bytes} are right",
                    path.display(),
                    entry.size()
                )));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            members.push((path, bytes));
        }
    }
    // gzip's checksum stands at the very end: reading on finds damage inside the images too.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(members)
}
