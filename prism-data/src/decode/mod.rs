//! One image file: bytes to a square of the model's size.
//!
//! The photograph is turned as its EXIF orientation says, transparent pixels are laid on white, the centre square is cut
//! out and resized. Grey is Rec. 601 luma, `(299 R + 587 G + 114 B) / 1000`, as in PyTorch's and Pillow's loaders. Of
//! 16-bit grey and of DICOM the brightness between two values of the user's becomes 0 to 255 ([`Intensity`]).

#[cfg(feature = "dicom")]
mod dicom;
#[cfg(feature = "dicom")]
mod dicom_lengths;
mod gate;
mod intensity;
pub(crate) mod kind;
#[cfg(test)]
pub(super) mod tests;

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::resize::{Resizer, centre_square};
use gate::{Gate, Taken};
pub use intensity::Intensity;

/// Side of the largest picture that is decoded.
const MAX_SIDE: u32 = 16_384;

/// Bytes that a decoder may take for one picture: 256 MiB, enough for 80 megapixels in colour.
const MAX_BYTES: u64 = 1 << 28;

/// Bytes that all pictures in decoding may take together: 1 GiB. Turning one, or making 8 bits of 16, takes a second copy.
static MEMORY: Gate = Gate::new(1 << 30);
const COPIES: u64 = 2;

/// What a file was before it became an image of the model's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub format: &'static str,
    pub width: usize,
    pub height: usize,
    /// Whether no pixel has a colour.
    pub grey: bool,
    /// The least and the greatest value of 16-bit grey or of DICOM.
    pub range: Option<Range>,
    /// Whether there are pages or frames after the first, which are not read.
    pub pages: bool,
}

/// The values of a picture of more than 256 shades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The least and the greatest that are there.
    pub found: (i32, i32),
    /// The least and the greatest that could be.
    pub full: (i32, i32),
}

impl Range {
    fn of(values: impl Iterator<Item = i32> + Clone, full: (i32, i32)) -> Option<Self> {
        let found = values.clone().min().zip(values.max())?;
        Some(Range { found, full })
    }
}

/// A decoded picture, grey or red-green-blue interleaved.
struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

/// How files become images.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub channels: usize,
    pub size: usize,
    pub intensity: Intensity,
}

/// Decodes the file content `bytes`, whose name ends in `ending`, into `out`, `channels` planes of `size * size`; says why
/// if it cannot.
pub(super) fn decode_into(bytes: &[u8], ending: &str, shape: Shape, out: &mut [u8]) -> Result<Seen, String> {
    let Shape { channels, size, intensity } = shape;
    let (picture, seen, _held) = decode(bytes, ending, intensity)?;
    let (side, top, left) = centre_square(picture.width, picture.height);
    let resizer = Resizer::new(side, size);
    let at = |y: usize, x: usize| ((top + y) * picture.width + left + x) * picture.channels;
    let pixels = &picture.pixels;
    let planes = out.chunks_exact_mut(size * size);
    match (picture.channels, channels) {
        (3, 3) => planes.enumerate().for_each(|(c, plane)| resizer.plane(|y, x| pixels[at(y, x) + c], plane)),
        (3, _) => planes.for_each(|plane| resizer.plane(|y, x| luma(&pixels[at(y, x)..]), plane)),
        _ => planes.for_each(|plane| resizer.plane(|y, x| pixels[at(y, x)], plane)),
    }
    Ok(seen)
}

/// Rec. 601 luma of a pixel, rounded.
pub(super) fn luma(rgb: &[u8]) -> u8 {
    let weighted = 299 * u32::from(rgb[0]) + 587 * u32::from(rgb[1]) + 114 * u32::from(rgb[2]);
    ((weighted + 500) / 1000) as u8
}

fn decode(bytes: &[u8], ending: &str, intensity: Intensity) -> Result<(Picture, Seen, Taken<'static>), String> {
    let cannot = |error: image::ImageError| error.to_string();
    if let Some(why) = kind::why_unread(bytes, ending) {
        return Err(why);
    }
    #[cfg(feature = "dicom")]
    if kind::is_dicom(bytes) {
        return dicom::read(bytes).map(|(scan, held)| {
            let (picture, seen) = of_scan(scan, intensity);
            (picture, seen, held)
        });
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let Some(format) = reader.format() else {
        return Err("its content is neither PNG, JPEG, TIFF, WebP, BMP nor PNM".into());
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    if let Some(name) = ends_early(bytes) {
        return Err(format!("the {name} ends early"));
    }
    let mut decoder = reader.into_decoder().map_err(cannot)?;
    let (width, height) = decoder.dimensions();
    // The decoders check their own allocations only; the decoded picture itself is checked here.
    if width == 0 || height == 0 || decoder.total_bytes() > MAX_BYTES {
        return Err(format!("its {width}x{height} pixels are none or take more than {MAX_BYTES} bytes"));
    }
    let held = MEMORY.take(COPIES * decoder.total_bytes());
    let orientation = decoder.orientation().map_err(cannot)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(cannot)?;
    image.apply_orientation(orientation);
    let pages = kind::has_pages(bytes);
    let range = range(&image);
    let picture = picture(image, intensity);
    let grey = picture.channels == 1 || picture.pixels.chunks_exact(3).all(|rgb| rgb[0] == rgb[1] && rgb[1] == rgb[2]);
    let (width, height) = (picture.width, picture.height);
    Ok((picture, Seen { format: name_of(format), width, height, grey, range, pages }, held))
}

fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        _ => "PNM",
    }
}

#[cfg(feature = "dicom")]
fn of_scan(scan: dicom::Scan, intensity: Intensity) -> (Picture, Seen) {
    let dicom::Scan { width, height, values, full, inverted, frames } = scan;
    let range = Range::of(values.iter().copied(), full);
    let mut pixels = intensity.bytes(values.into_iter(), full);
    if inverted {
        pixels.iter_mut().for_each(|byte| *byte = u8::MAX - *byte);
    }
    let seen = Seen { format: "DICOM", width, height, grey: true, range, pages: frames };
    (Picture { width, height, channels: 1, pixels }, seen)
}

/// What 16 bits can hold.
const SIXTEEN_BITS: (i32, i32) = (0, u16::MAX as i32);

fn range(image: &DynamicImage) -> Option<Range> {
    let DynamicImage::ImageLuma16(grey) = image else { return None };
    Range::of(grey.as_raw().iter().map(|&value| value.into()), SIXTEEN_BITS)
}

fn picture(image: DynamicImage, intensity: Intensity) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, pixels) = match image {
        DynamicImage::ImageLuma16(grey) if intensity != Intensity::FULL => {
            (1, intensity.bytes(grey.as_raw().iter().map(|&value| value.into()), SIXTEEN_BITS))
        }
        DynamicImage::ImageLuma8(_) | DynamicImage::ImageLuma16(_) => (1, image.into_luma8().into_raw()),
        _ if image.color().has_alpha() => (3, on_white(&image.into_rgba8().into_raw())),
        _ => (3, image.into_rgb8().into_raw()),
    };
    Picture { width, height, channels, pixels }
}

/// Lays red, green, blue, opacity pixels on white paper.
fn on_white(rgba: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.chunks_exact(4) {
        let alpha = u32::from(pixel[3]);
        rgb.extend(
            pixel[..3].iter().map(|&value| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8),
        );
    }
    rgb
}

const JPEG_START: &[u8] = &[0xff, 0xd8, 0xff];

/// The format of a file that lacks its end where the decoder would not notice, or would paint what is missing.
fn ends_early(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(JPEG_START) && !jpeg_is_complete(bytes) {
        return Some("JPEG");
    }
    let riff = bytes.starts_with(b"RIFF").then(|| bytes.get(4..8)).flatten();
    let length =
        riff.map_or(0, |length| u64::from(u32::from_le_bytes([length[0], length[1], length[2], length[3]])) + 8);
    (length > bytes.len() as u64).then_some("WebP")
}

/// Whether the marker that ends a JPEG is there. The decoder would silently paint what is missing grey.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(marker) = next_marker(bytes, &mut at) {
        match marker {
            0xd9 => return true,
            // Restart markers and these two carry no length.
            0x01 | 0xd0..=0xd8 => {}
            _ => match bytes.get(at..at + 2) {
                Some(length) => at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2),
                None => return false,
            },
        }
    }
    false
}

/// The next marker at or after `at`, which moves behind it. Compressed data before it is passed over: in it, `ff` is always
/// followed by `00`.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let pair = bytes.get(*at..*at + 2)?;
        if pair[0] == 0xff && pair[1] != 0 && pair[1] != 0xff {
            *at += 2;
            return Some(pair[1]);
        }
        *at += 1;
    }
}
