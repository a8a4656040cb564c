//! Images as a network gets them: windows on bytes, normalised, with a part of each erased.
//!
//! One kernel where the GPU kernels compute. Elsewhere it is composed of libtorch's operations: no more of them than the windows
//! ask for, so that whole images in their order, which is what a loader makes for a CPU, are normalised where they are.

use std::ffi::c_char;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::kernel_choice::gpu_kernels_compute;
use super::{TorchError, take_message, values_to_device};

unsafe extern "C" {
    fn pdarts_write_windows(
        images: *const C_tensor,
        windows: *const C_tensor,
        colours: *const f32,
        y: *const C_tensor,
    ) -> *mut c_char;
}

/// Red, green, blue.
const CHANNELS: usize = 3;

/// A window on one of several images, in the size of an image.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageWindow {
    /// Which image.
    pub image: u32,
    /// The image's row that is the window's first; above the image and below it is black.
    pub top: i32,
    /// The image's column that is the window's first; beside the image is black.
    pub left: i32,
    /// Whether the window is mirrored left to right.
    pub mirrored: bool,
    /// What of the mirrored window is zero after normalisation: first row, row past the last one, first column, column past
    /// the last one.
    pub erased: [i32; 4],
}

impl ImageWindow {
    /// As the kernel reads it (windows/cuda.h).
    fn row(&self) -> [i32; 8] {
        let Self { image, top, left, mirrored, erased: [erased_top, erased_bottom, erased_left, erased_right] } = *self;
        // Of fewer than 2^31 images, which is checked.
        [image as i32, top, left, mirrored.into(), erased_top, erased_bottom, erased_left, erased_right]
    }

    fn is_whole(&self, image: usize) -> bool {
        self.image as usize == image && (self.top, self.left, self.mirrored) == (0, 0, false)
    }

    fn erases(&self) -> bool {
        let [top, bottom, left, right] = self.erased;
        top < bottom && left < right
    }
}

/// `(byte / 255 - mean) / std` of `windows` on `images` `[M, H, W, 3]`, by channel, each operation rounded to float32, and zero
/// where they are erased; then as `kind`, `[N, 3, H, W]`, channels last. The bits are the same on every device.
///
/// # Errors
/// When there is no such image, or libtorch refuses, for example for want of memory.
pub fn normalised_windows(
    images: &Tensor,
    windows: &[ImageWindow],
    mean: [f32; CHANNELS],
    std: [f32; CHANNELS],
    kind: Kind,
) -> Result<Tensor, TorchError> {
    let size = images.size();
    let &[num_images, height, width, 3] = &size[..] else {
        return Err(TorchError::Shim(format!("images of {size:?}: expected [M, H, W, 3]")));
    };
    if let Some(window) = windows.iter().find(|window| i64::from(window.image) >= num_images.min(i32::MAX.into())) {
        return Err(TorchError::Shim(format!("a window on image {} of {num_images}", window.image)));
    }
    let has_kernel = matches!(kind, Kind::Float | Kind::Double | Kind::BFloat16) && gpu_kernels_compute(images);
    let y = if has_kernel {
        let y = Tensor::f_empty([windows.len() as i64, height, width, 3], (kind, images.device()))?;
        let (table, colours) = (table(windows, images.device())?, [mean, std]);
        // SAFETY: live tensors, and two means and standard deviations of three channels, one after the other.
        take_message(unsafe {
            pdarts_write_windows(images.as_ptr(), table.as_ptr(), colours.as_ptr().cast(), y.as_ptr())
        })?;
        y
    } else {
        composed(images, windows, mean, std)?.f_to_kind(kind)?
    };
    Ok(y.f_permute([0, 3, 1, 2])?)
}

/// `[N, 8]`: a row for each window.
fn table(windows: &[ImageWindow], device: Device) -> Result<Tensor, TorchError> {
    let rows: Vec<i32> = windows.iter().flat_map(ImageWindow::row).collect();
    Ok(values_to_device(&rows, device)?.f_view([-1, 8])?)
}

/// The same of libtorch's operations: `[N, H, W, 3]`, float32.
fn composed(
    images: &Tensor,
    windows: &[ImageWindow],
    mean: [f32; CHANNELS],
    std: [f32; CHANNELS],
) -> Result<Tensor, TorchError> {
    let are_images = windows.len() as i64 == images.size()[0]
        && windows.iter().enumerate().all(|(image, window)| window.is_whole(image));
    let bytes = if are_images { images.shallow_clone() } else { cut(images, windows)? };
    let values = normalised(&bytes, mean, std)?;
    if windows.iter().any(ImageWindow::erases) { erase(values, windows) } else { Ok(values) }
}

/// The bytes of the windows `[N, H, W, 3]`, without erasing.
fn cut(images: &Tensor, windows: &[ImageWindow]) -> Result<Tensor, TorchError> {
    let (size, device) = (images.size(), images.device());
    let (height, width, num_windows) = (size[1], size[2], windows.len() as i64);
    let table = table(windows, device)?.f_to_kind(Kind::Int64)?;
    let field = |field: i64| table.f_narrow(1, field, 1); // [N, 1]
    let places = |length: i64| Tensor::f_arange(length, (Kind::Int64, device));
    let rows = places(height)?.f_add(&field(1)?)?; // [N, H], of the image
    let columns = places(width)?;
    let to_mirrored = (columns.f_neg()?.f_mul_scalar(2)?.f_add_scalar(width - 1)?).f_mul(&field(3)?)?;
    let columns = columns.f_add(&to_mirrored)?.f_add(&field(2)?)?; // [N, W]
    let inside = |places: &Tensor, length: i64| places.f_ge(0)?.f_logical_and(&places.f_lt(length)?);
    let outside = inside(&rows, height)?.f_unsqueeze(2)?.f_logical_and(&inside(&columns, width)?.f_unsqueeze(1)?)?;
    let outside = outside.f_logical_not()?.f_unsqueeze(3)?; // [N, H, W, 1]
    let rows = rows.f_clamp(0, height - 1)?.f_add(&field(0)?.f_mul_scalar(height)?)?; // of all images
    let columns = columns.f_clamp(0, width - 1)?;
    let pixels = rows.f_mul_scalar(width)?.f_unsqueeze(2)?.f_add(&columns.f_unsqueeze(1)?)?;
    let bytes = images.f_view([-1, CHANNELS as i64])?.f_index_select(0, &pixels.f_flatten(0, -1)?)?;
    Ok(bytes.f_view([num_windows, height, width, CHANNELS as i64])?.f_masked_fill_(&outside, 0)?)
}

/// `(byte / 255 - mean) / std` of `[N, H, W, 3]` bytes, each operation rounded to float32.
///
/// The operands are tensors on the device: libtorch's CUDA kernels multiply by the rounded inverse of a number that they
/// are to divide by.
fn normalised(bytes: &Tensor, mean: [f32; CHANNELS], std: [f32; CHANNELS]) -> Result<Tensor, TorchError> {
    let (size, device) = (bytes.size(), bytes.device());
    let row = size[2] * size[3]; // rows of whole images: long loops over contiguous memory
    let by_channel = |values: [f32; CHANNELS]| -> Result<_, TorchError> {
        Ok(values_to_device(&values, device)?.f_repeat([size[2]])?)
    };
    let largest = Tensor::f_full([1], 255.0, (Kind::Float, device))?;
    let mut values = bytes.f_view([-1, row])?.f_to_kind(Kind::Float)?;
    let _ = values.f_div_(&largest)?;
    let _ = values.f_sub_(&by_channel(mean)?)?;
    let _ = values.f_div_(&by_channel(std)?)?;
    Ok(values.f_view(&size[..])?)
}

/// Fills a rectangle of each of `images` `[N, H, W, 3]` with zeros, the mean of normalised images.
fn erase(mut images: Tensor, windows: &[ImageWindow]) -> Result<Tensor, TorchError> {
    let (size, device) = (images.size(), images.device());
    let edges = table(windows, device)?.f_unsqueeze(2)?; // [N, 8, 1]
    let between = |first: i64, length: i64| {
        let place = Tensor::f_arange(length, (Kind::Int64, device))?;
        let (start, end) = (edges.f_select(1, first)?, edges.f_select(1, first + 1)?); // [N, 1]
        place.f_ge_tensor(&start)?.f_logical_and(&place.f_lt_tensor(&end)?)
    };
    let (rows, columns) = (between(4, size[1])?, between(6, size[2])?); // [N, H], [N, W]
    let mask = rows.f_unsqueeze(2)?.f_logical_and(&columns.f_unsqueeze(1)?)?;
    Ok(images.f_masked_fill_(&mask.f_unsqueeze(3)?, 0.0)?)
}
