//! One PNG or JPEG file: bytes to a square of the model's size.
//!
//! The photograph is turned as its EXIF orientation says, transparent pixels are laid on white, the centre square is cut
//! out and resized. Grey is Rec. 601 luma, `(299 R + 587 G + 114 B) / 1000`, as in PyTorch's and Pillow's loaders.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::resize::{Resizer, centre_square};

/// Side of the largest picture that is decoded.
const MAX_SIDE: u32 = 16_384;

/// Bytes that a decoder may take for one picture: 256 MiB, enough for 80 megapixels in colour.
const MAX_BYTES: u64 = 1 << 28;

/// A decoded picture, grey or red-green-blue interleaved.
struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

/// Decodes the file content `bytes` into `out`, `channels` planes of `size * size`; says why if it cannot.
pub(super) fn decode_into(bytes: &[u8], channels: usize, size: usize, out: &mut [u8]) -> Result<(), String> {
    let picture = decode(bytes)?;
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
    Ok(())
}

/// Rec. 601 luma of a pixel, rounded.
pub(super) fn luma(rgb: &[u8]) -> u8 {
    let weighted = 299 * u32::from(rgb[0]) + 587 * u32::from(rgb[1]) + 114 * u32::from(rgb[2]);
    ((weighted + 500) / 1000) as u8
}

fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let cannot = |error: image::ImageError| error.to_string();
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    if reader.format().is_none() {
        return Err("its content is neither PNG nor JPEG".into());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    if bytes.starts_with(JPEG_START) && !jpeg_is_complete(bytes) {
        return Err("the JPEG ends early".into());
    }
    let mut decoder = reader.into_decoder().map_err(cannot)?;
    let (width, height) = decoder.dimensions();
    // The decoders check their own allocations only; the decoded picture itself is checked here.
    if width == 0 || height == 0 || decoder.total_bytes() > MAX_BYTES {
        return Err(format!("its {width}x{height} pixels are none or take more than {MAX_BYTES} bytes"));
    }
    let orientation = decoder.orientation().map_err(cannot)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(cannot)?;
    image.apply_orientation(orientation);
    Ok(picture(image))
}

fn picture(image: DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, pixels) = match image {
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
    use image::{ExtendedColorType, ImageEncoder, ImageFormat};

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
            ImageFormat::Png => {
                image::codecs::png::PngEncoder::new(&mut bytes).write_image(pixels, side.0, side.1, colour)
            }
            _ => image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95)
                .write_image(pixels, side.0, side.1, colour),
        }
        .unwrap();
        bytes
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
        assert!(why.contains("neither PNG nor JPEG"), "{why}");
        assert!(decode_into(b"GIF89a\x01\0\x01\0\0\0\0;", 1, 8, &mut [0; 64]).is_err());
    }
}
