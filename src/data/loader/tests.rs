use std::path::Path;

use super::*;
use crate::data::{
    Augment, CentreView, DatasetKind, Filter, IMAGE_BYTES, MemorySource, Policy, RankShare, SameSize, Split,
    StoredImage, Stream, open, photodigits,
};

const AUGMENT: Augment = Augment { crop_padding: 4, horizontal_flip: true, cutout: 16, policy: None };
/// Large enough for several chunks in a batch of 20.
const LARGE_SIDE: usize = 200;

/// All that a network sees of a batch.
type Content = (Vec<u8>, Vec<i64>, Vec<Window>);

fn content(batch: &Batch) -> Content {
    assert_eq!(batch.len(), batch.windows().len());
    (batch.pixels().flatten().copied().collect(), batch.labels().to_vec(), batch.windows().to_vec())
}

fn digits(split: Split) -> Arc<MemorySource> {
    Arc::new(photodigits::load(split).unwrap())
}

/// Images of noise-like bytes, each different.
fn large_images(count: usize) -> Arc<MemorySource> {
    let mut source = MemorySource::new(&["even", "odd"], LARGE_SIDE, Colours::IMAGENET);
    for record in 0..count {
        let planes: Vec<u8> =
            (0..LARGE_SIDE * LARGE_SIDE * CHANNELS).map(|i| ((i + 7 * record) * 31 % 253) as u8).collect();
        source.push_record(&planes, (record % 2) as i64, Path::new("large"), record).unwrap();
    }
    Arc::new(source)
}

fn loader(source: Arc<MemorySource>, sampler: Sampler, augment: Augment, num_threads: usize) -> Loader {
    let transform = Arc::new(SameSize::new(source.side().unwrap(), augment, 5));
    Loader::new(source, sampler, transform, NonZeroUsize::new(num_threads).unwrap())
}

fn shuffled(rank_share: RankShare, num_threads: usize) -> Loader {
    let sampler = Sampler::shuffled(0..100, 8, 5, Stream::Weights, rank_share).unwrap();
    loader(digits(Split::Train), sampler, AUGMENT, num_threads)
}

fn batches(loader: &Loader, steps: Range<usize>) -> Vec<Content> {
    loader.batches(2, steps).unwrap().map(|batch| content(&batch.unwrap())).collect()
}

#[test]
fn batches_do_not_depend_on_the_number_of_threads() {
    let one = batches(&shuffled(RankShare::WHOLE, 1), 0..12);
    assert_eq!(one.len(), 12);
    for num_threads in [2, 3, 20] {
        assert!(batches(&shuffled(RankShare::WHOLE, num_threads), 0..12) == one);
    }
}

#[test]
fn chunks_of_large_batches_keep_their_order_on_any_number_of_threads() {
    let source = large_images(50);
    let of = |num_threads| {
        let sampler = Sampler::shuffled(0..50, 20, 5, Stream::Weights, RankShare::WHOLE).unwrap();
        loader(Arc::clone(&source), sampler, AUGMENT, num_threads)
    };
    let one = of(1);
    let batch = one.batches(2, 0..1).unwrap().next().unwrap().unwrap();
    let pieces: Vec<usize> = batch.pixels().map(<[u8]>::len).collect();
    assert!(pieces.len() > 2 && pieces.iter().all(|&piece| piece <= CHUNK_BYTES), "{pieces:?}");
    let expected = batches(&one, 0..4);
    for num_threads in [2, 3, 5] {
        assert!(batches(&of(num_threads), 0..4) == expected);
    }
}

#[test]
fn buffers_are_used_again_and_their_number_is_bounded() {
    let sampler = Sampler::shuffled(0..40, 10, 5, Stream::Weights, RankShare::WHOLE).unwrap();
    let loader = loader(large_images(40), sampler, AUGMENT, 2);
    for _ in 0..3 {
        assert_eq!(loader.batches(0, 0..40).unwrap().filter(Result::is_ok).count(), 40);
    }
    // Two threads with a queue each, what they work on, and a batch that the consumer holds.
    let chunks = 10usize.div_ceil(CHUNK_BYTES / (LARGE_SIDE * LARGE_SIDE * CHANNELS));
    let queues = 2 * (BATCHES_AHEAD * chunks).div_ceil(2).max(QUEUE_LENGTH);
    let kept = loader.pool.num_free();
    assert!(kept <= queues + 2 + 2 * chunks, "{kept}");
}

#[test]
fn memory_follows_from_the_size_of_a_part_and_not_of_the_global_batch() {
    for global_batch in [12, 48] {
        let sampler = Sampler::shuffled(0..48, global_batch, 5, Stream::Weights, RankShare::WHOLE).unwrap();
        let loader = loader(large_images(48), sampler.in_parts(global_batch / 4), AUGMENT, 1);
        let mut batches = loader.batches(0, 0..96 / global_batch).unwrap();
        assert_eq!(batches.parts_per_step(), global_batch / 4);
        assert!(batches.by_ref().all(|part| part.is_ok_and(|part| part.len() == 4)));
        drop(batches);
        // What is ready, what the thread works on, and what the consumer holds; each a part of four images.
        assert!(loader.pool.num_free() <= QUEUE_LENGTH + 2, "{}", loader.pool.num_free());
    }
}

#[test]
fn starting_at_a_step_equals_skipping_the_batches_before() {
    let loader = shuffled(RankShare::WHOLE, 2);
    assert!(batches(&loader, 7..15) == batches(&loader, 0..15)[7..]);
}

#[test]
fn ranks_share_the_images_of_one_rank_pixel_by_pixel() {
    let whole = batches(&shuffled(RankShare::WHOLE, 1), 0..3);
    let ranks: Vec<_> = (0..3).map(|rank| batches(&shuffled(RankShare { rank, size: 3 }, 1), 0..3)).collect();
    for (step, (pixels, labels, windows)) in whole.iter().enumerate() {
        assert_eq!(labels.len(), 8);
        assert!(*pixels == ranks.iter().flat_map(|rank| rank[step].0.clone()).collect::<Vec<_>>());
        assert!(*labels == ranks.iter().flat_map(|rank| rank[step].1.clone()).collect::<Vec<_>>());
        assert!(*windows == ranks.iter().flat_map(|rank| rank[step].2.clone()).collect::<Vec<_>>());
    }
}

/// The first batch of an epoch of `loader` in windows.
fn first_in_windows(loader: Loader) -> Batch {
    loader.with_windows(true).batches(2, 0..1).unwrap().next().unwrap().unwrap()
}

#[test]
fn windows_are_what_pixels_were_cut_by() {
    let source = digits(Split::Train);
    let batches = |loader: &Loader| loader.batches(2, 3..9).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let of_pixels = batches(&shuffled(RankShare { rank: 1, size: 2 }, 2));
    let of_windows = batches(&shuffled(RankShare { rank: 1, size: 2 }, 2).with_windows(true));
    assert_eq!((of_pixels.len(), of_windows.len()), (6, 6));
    for (pixels, windows) in of_pixels.iter().zip(&of_windows) {
        assert!(pixels.source().is_none() && windows.source().is_some());
        assert_eq!((pixels.indices(), pixels.labels()), (windows.indices(), windows.labels()));
        let erased = |batch: &Batch| batch.windows().iter().map(|window| window.erased).collect::<Vec<_>>();
        assert_eq!(erased(pixels), erased(windows));
        let mut cut = vec![0; 4 * IMAGE_BYTES];
        for ((out, window), &index) in cut.chunks_exact_mut(IMAGE_BYTES).zip(windows.windows()).zip(windows.indices()) {
            window.cut(source.image(index).unwrap(), 32, out);
        }
        assert!(cut == content(pixels).0 && content(windows).0.is_empty());
    }
}

#[test]
fn pixels_are_made_where_windows_are_not_enough() {
    let of = |augment| {
        let sampler = Sampler::shuffled(0..100, 8, 5, Stream::Weights, RankShare::WHOLE).unwrap();
        loader(digits(Split::Train), sampler, augment, 1)
    };
    assert!(first_in_windows(of(AUGMENT)).source().is_some());
    let with_policy = Augment { policy: Some(Policy::AutoAugment), ..AUGMENT };
    for batch in [first_in_windows(of(with_policy)), first_in_windows(of(AUGMENT).with_digests(true))] {
        assert!(batch.source().is_none());
        assert_eq!(content(&batch).0.len(), 8 * IMAGE_BYTES);
    }
    let other_size = Loader { transform: Arc::new(SameSize::new(16, AUGMENT, 5)), ..of(AUGMENT) };
    assert!(other_size.with_windows(true).batches(0, 0..1).unwrap().next().unwrap().is_err());
}

#[test]
fn labels_belong_to_their_images() {
    let source = digits(Split::Test);
    let sampler = Sampler::sequential(0..500, 64, RankShare::WHOLE).unwrap();
    let loader = loader(Arc::clone(&source), sampler, Augment::default(), 1);
    let (mut index, mut buffer) = (0, Vec::new());
    for (pixels, labels, _) in batches(&loader, 0..loader.num_steps()) {
        for (label, pixels) in labels.iter().zip(pixels.chunks(IMAGE_BYTES)) {
            let stored = StoredImage::Pixels { bytes: pixels, width: 32, height: 32 };
            assert!(source.read(index, &mut buffer).unwrap() == stored);
            assert_eq!(source.label(index).map(i64::from), Some(*label));
            index += 1;
        }
    }
    assert_eq!(index, 500);
}

#[test]
fn an_image_that_is_not_there_is_an_error() {
    let sampler = Sampler::sequential(498..502, 3, RankShare::WHOLE).unwrap();
    let loader = loader(digits(Split::Test), sampler, Augment::default(), 1);
    let mut batches = loader.batches(0, 0..2).unwrap();
    let error = batches.find_map(Result::err).unwrap();
    assert_eq!(error.to_string(), "image 500 was asked for, but the data set has only 500");
    assert!(batches.next().is_none());
}

#[test]
fn image_that_a_transform_refuses_is_told_with_its_place() {
    let sampler = Sampler::sequential(0..3, 2, RankShare::WHOLE).unwrap();
    let transform = Arc::new(SameSize::new(16, Augment::default(), 0));
    let loader = Loader::new(digits(Split::Test), sampler, transform, NonZeroUsize::MIN);
    let error = loader.batches(0, 0..2).unwrap().find_map(Result::err).unwrap().to_string();
    let place = "photodigits/test.bin (embedded) (record 0, counted from 0)";
    assert!(
        error.starts_with(&format!("{place} cannot be read as an image (32x32 pixels, expected 16x16)")),
        "{error}"
    );
}

#[test]
fn bad_image_is_replaced_by_the_next_of_its_class_where_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    for (name, grey) in [("a/0.png", 10), ("a/1.png", 20), ("b/0.png", 30), ("b/1.png", 40)] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(30, 30, image::Rgb([grey; 3])).save(path).unwrap();
    }
    std::fs::write(dir.path().join("a/1.png"), "no image").unwrap();
    let source = open(DatasetKind::Images, dir.path(), Split::Test).unwrap();
    let sampler = Sampler::sequential(0..4, 4, RankShare::WHOLE).unwrap();
    let bad_images = Arc::new(BadImages::new(BadImagePolicy::Skip { limit: 1 }));
    let transform = Arc::new(CentreView { resize: 10, crop: 8, filter: Filter::Bilinear });
    let loader = Loader::new(source, sampler, transform, NonZeroUsize::MIN).with_bad_images(Arc::clone(&bad_images));
    let (pixels, labels, _) = batches(&loader, 0..1).remove(0);
    assert_eq!(labels, [0, 0, 1, 1]);
    assert_eq!(pixels.chunks(8 * 8 * 3).map(|image| image[0]).collect::<Vec<_>>(), [10, 10, 30, 40]);
    assert_eq!(bad_images.numbers().len(), 1);
}

#[test]
fn waiting_for_slow_threads_is_counted() {
    let loader = shuffled(RankShare::WHOLE, 1);
    let mut batches = loader.batches(0, 0..12).unwrap();
    assert_eq!(batches.waited(), Duration::ZERO);
    let start = Instant::now();
    assert!(batches.by_ref().all(|batch| batch.is_ok()));
    assert!(batches.waited() > Duration::ZERO && batches.waited() <= start.elapsed());
}
