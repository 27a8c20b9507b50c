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
        assert!(decode_into(&bytes[..length], 1, 16, &mut out).is_err(), "{length} of {} bytes passed", bytes.len());
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
    for (format, name) in
        [(ImageFormat::Tiff, "TIFF"), (ImageFormat::WebP, "WebP"), (ImageFormat::Bmp, "BMP"), (ImageFormat::Pnm, "PNM")]
    {
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
        assert_eq!([out[0], out[63]], expected[..2]);
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
