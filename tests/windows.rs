//! Windows on images in bytes, on the CPU and by the GPU kernel in the emulation: bit for bit what is computed byte by byte, and
//! for whole epochs what the loader cuts.

#[path = "tensors/mod.rs"]
mod tensors;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use pdarts::data::{Augment, Batch, DatasetKind, Loader, RankShare, SameSize, Sampler, Split, Stream, Window, open};
use pdarts::torch::{ImageWindow, normalised_windows};
use pdarts::trainer::{ImageBatch, StepImages};
use tch::{Device, Kind, Tensor};
use tensors::{device, pass_in_emulation};

type Colours = [[f32; 3]; 2];

/// Mean and standard deviation of ImageNet, CIFAR-10, CIFAR-100, and two that are easy to compute with.
const COLOURS: [Colours; 5] = [
    [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]],
    [[0.491_399_68, 0.482_158_27, 0.446_531_24], [0.247_032_33, 0.243_485_05, 0.261_587_68]],
    [[0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]],
    [[0.0; 3], [1.0; 3]],
    [[0.5, 0.25, 0.0], [0.5, 0.25, 1.0]],
];
/// Half has no kernel.
const KINDS: [Kind; 4] = [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Half];
const AUGMENT: Augment = Augment { crop_padding: 4, horizontal_flip: true, cutout: 16, policy: None };

/// The windows' values `[N, H, W, 3]` on images `[M, H, W, 3]`, one by one.
fn one_by_one(images: &[u8], (height, width): (i64, i64), windows: &[ImageWindow], [mean, std]: Colours) -> Vec<f32> {
    let value = |window: &ImageWindow, row: i64, column: i64, channel: usize| {
        let [top, bottom, left, right] = window.erased.map(i64::from);
        if (top..bottom).contains(&row) && (left..right).contains(&column) {
            return 0.0;
        }
        let column = if window.mirrored { width - 1 - column } else { column };
        let (row, column) = (row + i64::from(window.top), column + i64::from(window.left));
        let is_inside = (0..height).contains(&row) && (0..width).contains(&column);
        let place = ((i64::from(window.image) * height + row) * width + column) * 3;
        let byte = if is_inside { images[place as usize + channel] } else { 0 };
        (f32::from(byte) / 255.0 - mean[channel]) / std[channel]
    };
    let places = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
    let all = windows.iter().flat_map(|window| places.clone().map(move |(row, column)| (window, row, column)));
    all.flat_map(|(window, row, column)| (0..3).map(move |channel| value(window, row, column, channel))).collect()
}

/// Fails unless images `[N, 3, H, W]` of `kind` have the bits of `expected` `[N, H, W, 3]`, converted.
fn assert_bits(found: &Tensor, expected: &[f32], kind: Kind, what: &str) {
    let found = found.to_device(Device::Cpu).permute([0, 2, 3, 1]);
    assert!(found.is_contiguous(), "{what}: not channels last");
    let expected = Tensor::from_slice(expected).to_kind(kind).view(&found.size()[..]);
    // Also tells zeros of either sign apart.
    let bits = match kind {
        Kind::Double => Kind::Int64,
        Kind::Float => Kind::Int,
        _ => Kind::Int16,
    };
    assert_eq!(found.kind(), kind);
    assert!(found.view_dtype(bits).equal(&expected.view_dtype(bits)), "{what}, {kind:?}");
}

/// `[count, height, width, 3]`, no two images alike.
fn noise(count: i64, (height, width): (i64, i64)) -> Vec<u8> {
    (0..count * height * width * 3).map(|place| (place * 7919 % 10_007 * 31 % 256) as u8).collect()
}

fn assert_windows(images: &[u8], size: (i64, i64), windows: &[ImageWindow], colours: Colours) {
    let tensor = Tensor::from_slice(images).view([-1, size.0, size.1, 3]).to_device(device());
    let expected = one_by_one(images, size, windows, colours);
    for kind in KINDS {
        let found = normalised_windows(&tensor, windows, colours[0], colours[1], kind).unwrap();
        assert_bits(&found, &expected, kind, &format!("{size:?}, {windows:?}"));
    }
}

/// All of each of `count` images in order.
fn whole(count: u32) -> Vec<ImageWindow> {
    (0..count).map(|image| ImageWindow { image, ..ImageWindow::default() }).collect()
}

#[test]
fn every_byte_of_every_channel_is_normalised_to_the_bits_of_one_by_one() {
    let bytes: Vec<u8> = (0..=255).flat_map(|byte| [byte; 3]).collect();
    for colours in COLOURS {
        assert_windows(&bytes, (16, 16), &whole(1), colours);
        assert_windows(&bytes, (4, 16), &whole(4), colours);
    }
}

#[test]
fn windows_of_all_kinds_and_sizes_are_those_defined_byte_by_byte() {
    for size in [(1, 1), (1, 6), (5, 7), (8, 8), (6, 10), (33, 31)] {
        let images = noise(3, size);
        let (height, width) = (size.0 as i32, size.1 as i32);
        let mut windows = Vec::new();
        let (tops, lefts) = ([-height - 1, -height, -2, 0, 1, height], [-width, -1, 0, 3, width, width + 5]);
        for (top, left) in tops.into_iter().flat_map(|top| lefts.map(|left| (top, left))) {
            let window = ImageWindow { image: windows.len() as u32 % 3, top, left, ..ImageWindow::default() };
            windows.extend([window, ImageWindow { mirrored: true, ..window }]);
        }
        for far in [i32::MIN, i32::MAX] {
            windows.push(ImageWindow { top: far, ..ImageWindow::default() });
            windows.push(ImageWindow { left: far, mirrored: true, ..ImageWindow::default() });
        }
        let rectangles = [
            [0, height, 0, width],
            [0, 1, 0, 1],
            [height / 2, height, width / 3, width],
            [-3, 2, -3, 2],
            [height - 1, height + 4, 0, width + 9],
            [1, 1, 0, width],
            [height, 0, width, 0],
            [0, height, 2, 1],
        ];
        for erased in rectangles {
            let window = ImageWindow { image: 2, erased, ..ImageWindow::default() };
            windows.extend([window, ImageWindow { top: 1, left: -1, mirrored: true, ..window }]);
        }
        assert_windows(&images, size, &windows, COLOURS[1]);
        // Whole images with a part erased, and none at all.
        let erased = |(window, erased)| ImageWindow { erased, ..window };
        assert_windows(
            &images,
            size,
            &whole(3).into_iter().zip(rectangles).map(erased).collect::<Vec<_>>(),
            COLOURS[2],
        );
        assert_windows(&images, size, &[], COLOURS[0]);
        assert_windows(&[], size, &[], COLOURS[0]);
    }
}

#[test]
fn window_on_an_image_that_is_not_there_is_refused() {
    let images = Tensor::zeros([2, 4, 4, 3], (Kind::Uint8, device()));
    let window = |image| [ImageWindow { image, ..ImageWindow::default() }];
    let [mean, std] = COLOURS[0];
    assert!(normalised_windows(&images, &window(1), mean, std, Kind::Float).is_ok());
    for image in [2, u32::MAX] {
        let error = normalised_windows(&images, &window(image), mean, std, Kind::Float).unwrap_err().to_string();
        assert!(error.contains(&format!("image {image} of 2")), "{error}");
    }
    let planes = images.permute([0, 3, 1, 2]);
    assert!(normalised_windows(&planes, &window(1), mean, std, Kind::Float).is_err());
}

/// Images of photodigits, in steps of 50 on one of two ranks, in parts.
fn loader(split: Split, augment: Augment, parts: usize, windows: bool) -> Loader {
    let source = open(DatasetKind::Photodigits, Path::new(""), split).unwrap();
    let (samples, rank_share) = (0..source.len() as u32, RankShare { rank: 1, size: 2 });
    let sampler = match split {
        Split::Train => Sampler::shuffled(samples, 100, 7, Stream::Weights, rank_share).unwrap().in_parts(parts),
        Split::Test => Sampler::sequential(samples, 96, rank_share).unwrap(),
    };
    let transform = Arc::new(SameSize::new(32, augment, 7));
    Loader::new(source, sampler, transform, NonZeroUsize::MIN).with_windows(windows)
}

/// What the loader's pixels come to, byte by byte.
fn of_pixels(batch: &Batch) -> Vec<f32> {
    let pixels: Vec<u8> = batch.pixels().flatten().copied().collect();
    let window = |(image, window): (u32, &Window)| {
        let erased = [window.erased.top, window.erased.bottom, window.erased.left, window.erased.right];
        ImageWindow { image, erased: erased.map(|edge| edge as i32), ..ImageWindow::default() }
    };
    let windows: Vec<_> = (0..).zip(batch.windows()).map(window).collect();
    let colours = batch.colours();
    one_by_one(&pixels, (32, 32), &windows, [colours.mean, colours.std])
}

#[test]
fn windows_of_whole_epochs_show_what_the_loader_cuts() {
    let off = Augment::default();
    let cases = [
        (Split::Train, AUGMENT, 1),
        (Split::Train, AUGMENT, 5),
        (Split::Train, Augment { crop_padding: 4, ..off }, 1),
        (Split::Train, Augment { horizontal_flip: true, ..off }, 1),
        (Split::Train, Augment { cutout: 16, ..off }, 2),
        (Split::Test, off, 1),
    ];
    for (split, augment, parts) in cases {
        let [pixels, windows] = [false, true].map(|windows| loader(split, augment, parts, windows));
        let steps = 0..pixels.num_steps();
        let batches = [&pixels, &windows].map(|loader| loader.batches(3, steps.clone()).unwrap());
        assert_eq!(batches[1].parts_per_step(), parts);
        let [pixels, windows] = batches;
        let mut num_images = 0;
        for (pixels, windows) in pixels.zip(windows) {
            let (pixels, windows) = (pixels.unwrap(), windows.unwrap());
            assert!(pixels.source().is_none() && windows.source().is_some());
            let expected = of_pixels(&pixels);
            for batch in [&pixels, &windows] {
                let found = ImageBatch::from_host(batch, device(), Kind::Float).unwrap();
                assert_bits(&found.images, &expected, Kind::Float, &format!("{split:?}, {augment:?}"));
                assert_eq!(Vec::<i64>::try_from(found.labels).unwrap(), pixels.labels());
            }
            num_images += windows.len();
        }
        assert_eq!(num_images, if split == Split::Train { 1100 } else { 250 });
    }
}

#[test]
fn parts_of_steps_may_be_kept_and_an_epoch_resumed_in_windows() {
    let [pixels, windows] = [false, true].map(|windows| loader(Split::Train, AUGMENT, 5, windows));
    let mut in_pixels = pixels.batches(1, 0..6).unwrap();
    for _ in 0..4 * 5 {
        in_pixels.next().unwrap().unwrap();
    }
    let mut resumed = windows.batches(1, 4..6).unwrap();
    for kind in [Kind::Float, Kind::Double] {
        let mut expected = StepImages::next_of(&mut in_pixels, device(), kind);
        let mut found = StepImages::next_of(&mut resumed, device(), kind);
        expected.keep().unwrap();
        found.keep().unwrap();
        assert_eq!(found.num_parts(), 5);
        for part in (0..5).chain([2, 0]) {
            let (expected, found) = (expected.part(part).unwrap(), found.part(part).unwrap());
            assert!(found.images.equal(&expected.images) && found.labels.equal(&expected.labels));
        }
    }
}

#[test]
fn gpu_kernels_pass_in_the_emulation() {
    pass_in_emulation(&[
        "every_byte_of_every_channel_is_normalised_to_the_bits_of_one_by_one",
        "windows_of_all_kinds_and_sizes_are_those_defined_byte_by_byte",
        "window_on_an_image_that_is_not_there_is_refused",
        "windows_of_whole_epochs_show_what_the_loader_cuts",
        "parts_of_steps_may_be_kept_and_an_epoch_resumed_in_windows",
    ]);
}
