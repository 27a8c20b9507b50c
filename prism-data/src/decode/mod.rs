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

#[cfg(test)]
pub(super) mod tests {
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    /// `pixels` as a file of the given format.
    pub(in super::super) fn encode(
        format: ImageFormat,
        colour: ExtendedColorType,
        side: (u32, u32),
        pixels: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        match format {
            ImageFormat::Jpeg => image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95)
                .write_image(pixels, side.0, side.1, colour),
            _ => {
                let mut out = Cursor::new(&mut bytes);
                image::write_buffer_with_format(&mut out, pixels, side.0, side.1, colour, format)
            }
        }
        .unwrap();
        bytes
    }

    /// Decodes as a PNG or whatever the bytes are.
    fn decode_into(bytes: &[u8], channels: usize, size: usize, out: &mut [u8]) -> Result<Seen, String> {
        super::decode_into(bytes, "png", Shape { channels, size, intensity: Intensity::FULL }, out)
    }

    fn decoded(bytes: &[u8], channels: usize, size: usize) -> Vec<u8> {
        let mut out = vec![0; channels * size * size];
        decode_into(bytes, channels, size, &mut out).unwrap();
        out
    }

    #[test]
    fn colour_comes_out_in_planes_and_grey_by_luma() {
        let mut pixels = Vec::new();
        for k in 0..64u8 {
            pixels.extend([k, 255 - k, 2 * k]);
        }
        let bytes = encode(ImageFormat::Png, ExtendedColorType::Rgb8, (8, 8), &pixels);
        let colour = decoded(&bytes, 3, 8);
        assert!((0..64).all(|k| (0..3).all(|c| colour[c * 64 + k] == pixels[3 * k + c])));
        assert!(decoded(&bytes, 1, 8).iter().enumerate().all(|(k, &grey)| grey == luma(&pixels[3 * k..])));
        assert_eq!((luma(&[255, 255, 255]), luma(&[255, 0, 0]), luma(&[0, 255, 0])), (255, 76, 150));
    }

    #[test]
    fn a_grey_file_fills_every_plane_with_its_centre() {
        // Two columns of black on each side are cut off.
        let pixels: Vec<u8> = (0..8 * 12).map(|k| if (2..10).contains(&(k % 12)) { 200 } else { 0 }).collect();
        let bytes = encode(ImageFormat::Png, ExtendedColorType::L8, (12, 8), &pixels);
        assert_eq!(decoded(&bytes, 3, 8), [200; 192]);
    }

    #[test]
    fn transparent_pixels_lie_on_white() {
        let pixels: Vec<u8> = [10, 20, 30, 0].repeat(64);
        let bytes = encode(ImageFormat::Png, ExtendedColorType::Rgba8, (8, 8), &pixels);
        assert_eq!(decoded(&bytes, 3, 8), [255; 192]);
        assert_eq!(on_white(&[10, 20, 30, 255]), [10, 20, 30]);
    }

    #[test]
    fn a_jpeg_is_decoded_and_no_part_of_it_passes_for_the_whole() {
        let pixels: Vec<u8> = (0..32 * 32 * 3).map(|k| (k % 251) as u8).collect();
        let bytes = encode(ImageFormat::Jpeg, ExtendedColorType::Rgb8, (32, 32), &pixels);
        assert_eq!(decoded(&bytes, 1, 16).len(), 256);
        let mut out = [0; 256];
        for length in 0..bytes.len() - 1 {
            assert!(
                decode_into(&bytes[..length], 1, 16, &mut out).is_err(),
                "{length} of {} bytes passed",
                bytes.len()
            );
        }
    }

    #[test]
    fn no_part_of_a_png_passes_for_the_whole() {
        let pixels: Vec<u8> = (0..16 * 16).map(|k| (k * 7 % 256) as u8).collect();
        let bytes = encode(ImageFormat::Png, ExtendedColorType::L8, (16, 16), &pixels);
        let mut out = [0; 64];
        // The last chunk, of 12 bytes, is empty: without it the picture is still all there.
        for length in 0..bytes.len() - 12 {
            assert!(decode_into(&bytes[..length], 1, 8, &mut out).is_err(), "{length} of {} bytes passed", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 0x10;
            // Some flips do no harm; none may panic.
            let _ = decode_into(&altered, 1, 8, &mut out);
        }
    }

    /// A PNG header that claims a picture of 4 gigapixels must be refused before memory is taken.
    #[test]
    fn a_decompression_bomb_is_refused() {
        let mut bytes = encode(ImageFormat::Png, ExtendedColorType::L8, (8, 8), &[0; 64]);
        for (width, height) in [(65_535u32, 65_535u32), (16_384, 16_385)] {
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&height.to_be_bytes());
            let crc = png_crc(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&crc.to_be_bytes());
            let why = decode_into(&bytes, 1, 8, &mut [0; 64]).unwrap_err();
            assert!(why.to_lowercase().contains("limit"), "{why}");
        }
    }

    /// CRC-32 of a PNG chunk.
    fn png_crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }

    #[test]
    fn a_file_that_is_no_picture_says_so() {
        let why = decode_into(b"hello, I am a text file", 1, 8, &mut [0; 64]).unwrap_err();
        assert!(why.contains("neither PNG, JPEG"), "{why}");
        let why = decode_into(b"GIF89a\x01\0\x01\0\0\0\0;", 1, 8, &mut [0; 64]).unwrap_err();
        assert!(why.contains("holds GIF") && why.contains("convert"), "{why}");
    }

    #[test]
    fn every_format_is_read_by_its_content_and_no_part_of_a_file_passes_for_the_whole() {
        let pixels: Vec<u8> = (0..16 * 16 * 3).map(|k| (k * 7 % 256) as u8).collect();
        for (format, name) in [
            (ImageFormat::Tiff, "TIFF"),
            (ImageFormat::WebP, "WebP"),
            (ImageFormat::Bmp, "BMP"),
            (ImageFormat::Pnm, "PNM"),
        ] {
            let bytes = encode(format, ExtendedColorType::Rgb8, (16, 16), &pixels);
            let mut out = vec![0; 3 * 256];
            let seen = decode_into(&bytes, 3, 16, &mut out).unwrap();
            assert_eq!((seen.format, seen.width, seen.grey, seen.pages), (name, 16, false, false));
            assert!((0..256).all(|k| (0..3).all(|c| out[c * 256 + k] == pixels[3 * k + c])), "{name}");
            for length in 0..bytes.len() - 1 {
                let part = decode_into(&bytes[..length], 3, 16, &mut out);
                assert!(part.is_err(), "{length} of {} bytes of {name} passed", bytes.len());
            }
        }
    }

    /// A scanner's 12 bits in a file of 16 are nearly black as they are.
    #[test]
    fn sixteen_bits_of_grey_tell_their_range_and_are_stretched_on_demand() {
        let values: Vec<u16> = (0..64).map(|k| 65 * k).collect();
        let pixels: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        for format in [ImageFormat::Png, ImageFormat::Tiff] {
            let bytes = encode(format, ExtendedColorType::L16, (8, 8), &pixels);
            let mut out = [0; 64];
            let seen = decode_into(&bytes, 1, 8, &mut out).unwrap();
            assert_eq!((seen.range.map(|range| range.found), out.iter().max()), (Some((0, 4095)), Some(&16)));
            let shape = Shape { channels: 1, size: 8, intensity: "0-4095".parse().unwrap() };
            super::decode_into(&bytes, "png", shape, &mut out).unwrap();
            assert_eq!((out[0], out[1], out[63]), (0, 4, 255));
        }
    }

    /// A window of the user's is what radiologists look through; white and black change places where the file says so.
    #[cfg(feature = "dicom")]
    #[test]
    fn a_scan_is_seen_through_the_window_that_the_user_names() {
        let pixels: Vec<u16> = (0..64).map(|k| 65 * k).collect();
        for (colours, expected) in [("MONOCHROME2", [0, 255, 128]), ("MONOCHROME1", [255, 0, 127])] {
            let bytes = dicom::tests::file(colours, 8, false, ["1", "-1024"], &pixels);
            let mut out = [0; 64];
            let shape = Shape { channels: 1, size: 8, intensity: "-114-146".parse().unwrap() };
            let seen = super::decode_into(&bytes, "", shape, &mut out).unwrap();
            let range = Range { found: (-1024, 3071), full: (-1024, 3071) };
            assert_eq!((seen.format, seen.range, seen.pages), ("DICOM", Some(range), false));
            assert_eq!([out[13], out[19], out[16]], expected, "{colours}");
            let full = Shape { intensity: Intensity::FULL, ..shape };
            super::decode_into(&bytes, "", full, &mut out).unwrap();
            assert_eq!(out[0].min(out[63]), 0);
        }
    }

    #[test]
    fn colours_that_are_all_grey_are_seen_as_grey() {
        let grey: Vec<u8> = (0..64u8).flat_map(|k| [k, k, k]).collect();
        let mut coloured = grey.clone();
        coloured[100] += 1;
        for (pixels, expected) in [(&grey, true), (&coloured, false)] {
            let bytes = encode(ImageFormat::Png, ExtendedColorType::Rgb8, (8, 8), pixels);
            assert_eq!(decode_into(&bytes, 3, 8, &mut [0; 192]).unwrap().grey, expected);
        }
    }
}
