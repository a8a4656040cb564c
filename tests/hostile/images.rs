//! Image files: JPEG, whole, cropped and shrunken, and PNG.

use std::fs;

use pdarts::data::{Area, ImageDecoder, Shrink, StoredImage};

use crate::amount;
use crate::corpus::{files_in, fixture};
use crate::target::Target;

/// Markers of segments.
const JPEG_TOKENS: &[&str] = &["\u{0}\u{10}JFIF\u{0}", "Adobe\u{0}", "Exif\u{0}\u{0}II*\u{0}\u{8}\u{0}\u{0}\u{0}"];
const PNG_TOKENS: &[&str] = &["IHDR", "PLTE", "tRNS", "IDAT", "IEND", "acTL", "fcTL", "fdAT", "iCCP", "zTXt", "eXIf"];
/// A coefficient takes two bytes, and an eighth of a byte of a file can be a block of 64; then there are the pixels.
const JPEG_EXPANSION: usize = 8 * 64 * (2 + 1 + 3);
/// The most that deflate can pack, 8 pixels a byte, with the samples of each and its colour.
const PNG_EXPANSION: usize = 1032 * 8 * (4 + 3);

/// Files of the fixtures, cut out by their first bytes.
fn corpus(start: &[u8]) -> Vec<Vec<u8>> {
    let files = files_in("tests/fixtures/transforms/files").into_iter().map(|path| fs::read(path).unwrap());
    files.filter(|file| file.starts_with(start)).collect()
}

/// Decodes `file`, and a part of it that its own bytes choose.
fn decode(decoder: &mut ImageDecoder, file: &[u8]) -> Result<(), String> {
    let choice: usize = file.iter().map(|&byte| usize::from(byte)).sum();
    let shrink = [Shrink::Full, Shrink::Half, Shrink::Quarter, Shrink::Eighth][choice % 4];
    let picture = decoder.open(StoredImage::Encoded(file)).map_err(|error| error.to_string())?;
    let (left, top) = (choice / 4 % picture.width, choice / 7 % picture.height);
    let (width, height) = (1 + choice / 3 % (picture.width - left), 1 + choice / 5 % (picture.height - top));
    let part = Area { left, top, width, height };
    let cropped = decoder.decode(&picture, &part, shrink).map(|decoded| {
        assert_eq!(decoded.pixels.len(), decoded.area.width * decoded.area.height * 3);
    });
    let picture = decoder.open(StoredImage::Encoded(file)).map_err(|error| error.to_string())?;
    let whole = decoder.decode(&picture, &picture.area(), Shrink::Full).map(|decoded| {
        assert_eq!(decoded.pixels.len(), picture.width * picture.height * 3);
    });
    // What can be decoded as a whole can be decoded in part.
    assert!(whole.is_err() || cropped.is_ok(), "{cropped:?}");
    whole.map_err(|error| error.to_string())
}

#[test]
fn jpeg() {
    let valid = corpus(&[0xff, 0xd8]);
    let hostile = vec![scans_without_end()];
    Target { name: "jpeg", valid, hostile, tokens: JPEG_TOKENS, expansion: JPEG_EXPANSION }.run(
        amount(1000, 800_000),
        // A decoder each: what it keeps for the next file is not the file's.
        |input| decode(&mut ImageDecoder::default(), input),
    );
}

/// A progressive image with the scan of its means' last bit over and over: it changes nothing and needs no table.
fn scans_without_end() -> Vec<u8> {
    let file = fixture("transforms/files/progressive_444.jpg");
    let refines_means =
        |at: &usize| file[*at..].starts_with(&[0xff, 0xda]) && matches!(file[at + 11..], [0, 0, 0x10, ..]);
    let start = (0..file.len() - 13).find(refines_means).unwrap();
    let length = file[start + 2..].windows(2).position(|bytes| bytes == [0xff, 0xc4]).unwrap() + 2;
    [&file[..file.len() - 2], &file[start..start + length].repeat(1000), &[0xff, 0xd9]].concat()
}

#[test]
fn jpeg_of_scans_without_end_is_refused() {
    let refusal = decode(&mut ImageDecoder::default(), &scans_without_end()).unwrap_err();
    assert!(refusal.contains("more scans"), "{refusal}");
}

#[test]
fn jpeg_with_one_decoder_for_all() {
    let mut decoder = ImageDecoder::default();
    let valid = corpus(&[0xff, 0xd8]);
    Target { name: "jpeg-kept", valid, hostile: Vec::new(), tokens: JPEG_TOKENS, expansion: JPEG_EXPANSION }
        .run(amount(1000, 800_000), |input| decode(&mut decoder, input));
}

#[test]
fn png() {
    let valid = corpus(b"\x89PNG");
    Target { name: "png", valid, hostile: Vec::new(), tokens: PNG_TOKENS, expansion: PNG_EXPANSION }.run(
        amount(2000, 1_000_000),
        // Checksums would keep damage from what is behind them.
        |input| decode(&mut ImageDecoder::default(), &with_checksums(input)),
    );
}

/// The PNG file with the right checksum behind each of its chunks, as far as it has chunks; every other file as it is.
fn with_checksums(file: &[u8]) -> Vec<u8> {
    let mut repaired = file.to_vec();
    if file.len().is_multiple_of(3) {
        return repaired;
    }
    let mut at = 8;
    while let Some(length) = file.get(at..at + 4).and_then(|bytes| bytes.first_chunk()) {
        let Some(end) = (at + 8).checked_add(u32::from_be_bytes(*length) as usize) else { break };
        let Some(body) = file.get(at + 4..end) else { break };
        let mut checksum = flate2::Crc::new();
        checksum.update(body);
        let Some(place) = repaired.get_mut(end..end + 4) else { break };
        place.copy_from_slice(&checksum.sum().to_be_bytes());
        at = end + 4;
    }
    repaired
}
