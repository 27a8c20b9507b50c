//! Monochrome DICOM images: numbers as the scanner's unit has them, such as Hounsfield's in a CT.
//!
//! A stored value becomes `slope * value + intercept` by the file's own rescale; which of these are black and white is for
//! the user to say ([`super::Intensity`]), since a window that a file carries says something of what is in it. By themselves
//! they are the lowest and the highest number that the file's bits can hold.

use std::panic;

use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, OpenFileOptions, Tag};
use dicom_pixeldata::{DecodedPixelData, PhotometricInterpretation, PixelDecoder, PixelRepresentation};

use super::{COPIES, MAX_BYTES, MAX_SIDE, MEMORY, Taken, dicom_lengths};

/// Bytes that one pixel takes while it is decoded: of the file, as decoded, as a number.
const PIXEL_BYTES: u64 = 4;

/// The first frame of a file.
pub(super) struct Scan {
    pub width: usize,
    pub height: usize,
    /// Row by row, in the scanner's unit.
    pub values: Vec<i32>,
    /// The least and the greatest value that the file's bits can hold.
    pub full: (i32, i32),
    /// Whether large values are black.
    pub inverted: bool,
    /// Whether there are frames after the first.
    pub frames: bool,
}

/// Reads the file content `bytes`; says why if it cannot.
pub(super) fn read(bytes: &[u8]) -> Result<(Scan, Taken<'static>), String> {
    dicom_lengths::check(bytes)?;
    let object = OpenFileOptions::new().from_reader(bytes).map_err(|error| unreadable(&error))?;
    let held = MEMORY.take(COPIES * check(&object)?);
    // The decoders of compressed frames are others' and see hostile bytes: what they do not foresee is this file's fault.
    let decoded = panic::catch_unwind(|| object.decode_pixel_data_frame(0));
    let frame = decoded.map_err(|_| "its compressed DICOM frame is damaged")?.map_err(|error| unreadable(&error))?;
    Ok((scan(&frame, number(&object, tags::NUMBER_OF_FRAMES).unwrap_or(1) > 1)?, held))
}

fn unreadable(error: &dyn std::error::Error) -> String {
    let mut words = format!("its DICOM cannot be read: {error}");
    let mut inner = error.source();
    while let Some(error) = inner {
        words += &format!(": {error}");
        inner = error.source();
    }
    words
}

fn number(object: &DefaultDicomObject, tag: Tag) -> Option<u64> {
    object.get(tag)?.to_int().ok()
}

/// Bytes of the decoded frame, before memory is taken for it.
fn check(object: &DefaultDicomObject) -> Result<u64, String> {
    let [Some(width), Some(height), Some(bits)] =
        [tags::COLUMNS, tags::ROWS, tags::BITS_ALLOCATED].map(|tag| number(object, tag))
    else {
        return Err("its DICOM holds no image".into());
    };
    let colours = object.get(tags::PHOTOMETRIC_INTERPRETATION).and_then(|element| element.to_str().ok());
    let colours = colours.as_deref().map_or("no colours", str::trim);
    if !colours.starts_with("MONOCHROME") || number(object, tags::SAMPLES_PER_PIXEL).is_some_and(|samples| samples != 1)
    {
        return Err(format!("its DICOM is in {colours}, and only monochrome is read; convert it to PNG"));
    }
    if bits != 8 && bits != 16 {
        return Err(format!("its DICOM has {bits} bits a pixel, and 8 or 16 are read; convert it to PNG"));
    }
    let most = u64::from(MAX_SIDE);
    let total = width.min(most + 1) * height.min(most + 1) * PIXEL_BYTES;
    match width == 0 || height == 0 || width > most || height > most || total > MAX_BYTES {
        true => Err(format!("its {width}x{height} pixels are none or take more than {MAX_BYTES} bytes")),
        false => Ok(total),
    }
}

fn scan(frame: &DecodedPixelData<'_>, frames: bool) -> Result<Scan, String> {
    let bits = u32::from(frame.bits_stored());
    let (allocated, above) = (u32::from(frame.bits_allocated()), u32::from(frame.high_bit()) + 1);
    if bits == 0 || bits > above || above > allocated {
        return Err(format!("its DICOM stores {bits} bits below bit {above} of {allocated}, which cannot be"));
    }
    let data = frame.frame_data(0).map_err(|error| unreadable(&error))?;
    let signed = frame.pixel_representation() == PixelRepresentation::Signed;
    let rescale = frame.rescale().ok().and_then(|all| all.first().copied());
    let (slope, intercept) = rescale.map_or((1.0, 0.0), |rescale| (rescale.slope, rescale.intercept));
    if !(slope.is_finite() && intercept.is_finite() && slope != 0.0) {
        return Err(format!("its DICOM rescales by {slope} and {intercept}, which says nothing"));
    }
    // Numbers beyond 32 bits become the nearest of these.
    let to_unit = |value: i32| (slope * f64::from(value) + intercept).round() as i32;
    let stored = |raw: u16| {
        // The bits below the highest one, with its sign spread where it has one.
        let top = u32::from(raw) << (32 - above);
        if signed { (top as i32) >> (32 - bits) } else { (top >> (32 - bits)) as i32 }
    };
    let values = match allocated {
        8 => data.iter().map(|&raw| to_unit(stored(raw.into()))).collect(),
        _ => data.chunks_exact(2).map(|raw| to_unit(stored(u16::from_ne_bytes([raw[0], raw[1]])))).collect(),
    };
    let ends = if signed { (-1 << (bits - 1), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
    let ends = (to_unit(ends.0), to_unit(ends.1));
    Ok(Scan {
        width: frame.columns() as usize,
        height: frame.rows() as usize,
        values,
        full: (ends.0.min(ends.1), ends.0.max(ends.1)),
        inverted: *frame.photometric_interpretation() == PhotometricInterpretation::Monochrome1,
        frames,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file of 16 allocated bits, little endian with explicit types, from the standard's own description of its bytes
    /// (PS3.5 section 7, PS3.10 section 7).
    pub fn file(colours: &str, side: u16, signed: bool, rescale: [&str; 2], pixels: &[u16]) -> Vec<u8> {
        let mut elements = Vec::new();
        let short = |value: u16| value.to_le_bytes().to_vec();
        let text = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(bytes.len().next_multiple_of(2), b' ');
            bytes
        };
        for (group, element, kind, value) in [
            (0x28, 0x02, b"US", short(1)),
            (0x28, 0x04, b"CS", text(colours)),
            (0x28, 0x10, b"US", short(side)),
            (0x28, 0x11, b"US", short(side)),
            (0x28, 0x100, b"US", short(16)),
            (0x28, 0x101, b"US", short(12)),
            (0x28, 0x102, b"US", short(11)),
            (0x28, 0x103, b"US", short(signed.into())),
            (0x28, 0x1052, b"DS", text(rescale[1])),
            (0x28, 0x1053, b"DS", text(rescale[0])),
        ] {
            element_to(&mut elements, (group, element), kind, &value);
        }
        let pixels: Vec<u8> = pixels.iter().flat_map(|value| value.to_le_bytes()).collect();
        elements.extend([0xe0, 0x7f, 0x10, 0, b'O', b'W', 0, 0]);
        elements.extend((pixels.len() as u32).to_le_bytes());
        elements.extend(pixels);

        let mut meta = Vec::new();
        for (element, value) in
            [(0x02, "1.2.840.10008.5.1.4.1.1.2\0"), (0x03, "1.2.3\0"), (0x10, "1.2.840.10008.1.2.1\0")]
        {
            element_to(&mut meta, (2, element), b"UI", &text(value));
        }
        let mut bytes = [&[0; 128][..], b"DICM"].concat();
        element_to(&mut bytes, (2, 0), b"UL", &(meta.len() as u32).to_le_bytes());
        [bytes, meta, elements].concat()
    }

    fn element_to(out: &mut Vec<u8>, (group, element): (u16, u16), kind: &[u8; 2], value: &[u8]) {
        out.extend(group.to_le_bytes());
        out.extend(element.to_le_bytes());
        out.extend(kind);
        out.extend((value.len() as u16).to_le_bytes());
        out.extend(value);
    }

    fn values(bytes: &[u8]) -> Result<Scan, String> {
        read(bytes).map(|(scan, _)| scan)
    }

    #[test]
    fn stored_numbers_become_hounsfield_units() {
        let scan = values(&file("MONOCHROME2", 2, false, ["2", "-1024"], &[0, 512, 1000, 0xf_fff])).unwrap();
        assert_eq!((scan.width, scan.height, scan.inverted, scan.frames), (2, 2, false, false));
        assert_eq!((scan.values, scan.full), (vec![-1024, 0, 976, 7166], (-1024, 7166)), "of 16 bits, 12 count");
    }

    #[test]
    fn signs_are_spread_and_small_slopes_and_inverted_files_are_as_they_say() {
        let scan = values(&file("MONOCHROME1", 2, true, ["1", "0"], &[0xfff, 0x800, 0x7ff, 3])).unwrap();
        assert_eq!((scan.values, scan.full, scan.inverted), (vec![-1, -2048, 2047, 3], (-2048, 2047), true));
        let scan = values(&file("MONOCHROME2", 2, false, ["-1", "10"], &[0, 1, 2, 3])).unwrap();
        assert_eq!((scan.values, scan.full), (vec![10, 9, 8, 7], (10 - 4095, 10)));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (bytes, words) in [
            (file("RGB", 2, false, ["1", "0"], &[0; 4]), "is in RGB"),
            (file("MONOCHROME2", 0, false, ["1", "0"], &[]), "0x0 pixels"),
            (file("MONOCHROME2", 20_000, false, ["1", "0"], &[0; 4]), "20000x20000 pixels"),
            (file("MONOCHROME2", 16_000, false, ["1", "0"], &[0; 4]), "more than 268435456 bytes"),
            (file("MONOCHROME2", 2, false, ["0", "0"], &[0; 4]), "says nothing"),
            (file("MONOCHROME2", 4, false, ["1", "0"], &[0; 4]), "cannot be read"),
            ([&[0; 128][..], b"DICM"].concat(), "not as long as it says"),
        ] {
            let why = values(&bytes).err().unwrap();
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn no_part_of_a_file_passes_for_the_whole_and_no_flip_does_harm() {
        let bytes = file("MONOCHROME2", 4, false, ["1", "-1024"], &[7; 16]);
        for length in 0..bytes.len() {
            assert!(values(&bytes[..length]).is_err(), "{length} of {} bytes passed", bytes.len());
        }
        for at in 128..bytes.len() {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut altered = bytes.clone();
                altered[at] ^= flip;
                // Some flips do no harm; none may panic.
                let _ = values(&altered);
            }
        }
    }
}
