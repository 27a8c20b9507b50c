//! What a file is by how it begins, whatever it is called.

/// Bytes that tell every kind.
pub(crate) const ENOUGH: u64 = 132;

/// A kind's name, and whether a file is of it by its first bytes.
type Kind = (&'static str, fn(&[u8]) -> bool);

/// Kinds of images that are not read, with what to do about each.
const UNREAD: [Kind; 9] = [
    ("GIF", |b| b.starts_with(b"GIF8")),
    ("HEIC or AVIF", |b| b.get(4..8) == Some(b"ftyp") && b.get(8..12).is_some_and(|brand| BRANDS.contains(&brand))),
    ("JPEG XL", |b| b.starts_with(b"\xff\x0a") || b.get(4..8) == Some(b"JXL ")),
    ("JPEG 2000", |b| b.get(4..8) == Some(b"jP  ") || b.starts_with(b"\xff\x4f\xff\x51")),
    ("DICOM", is_dicom),
    ("Photoshop", |b| b.starts_with(b"8BPS")),
    ("PDF", |b| b.starts_with(b"%PDF")),
    ("zip", |b| b.starts_with(b"PK\x03\x04")),
    ("gzip", |b| b.starts_with(b"\x1f\x8b")),
];

/// Brands of images among the files that begin as films do.
const BRANDS: [&[u8]; 7] = [b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"];

/// Endings of cameras' own files, which begin as TIFF and hold a small preview before the picture.
const RAW: &[&str] = &["dng", "nef", "cr2", "cr3", "arw", "orf", "rw2", "raf"];

/// Whether a file that begins so is an image beyond doubt, read or not. A text may begin as BMP and PGM do.
pub(crate) fn is_surely_image(start: &[u8]) -> bool {
    let readable = start.starts_with(b"\x89PNG")
        || start.starts_with(b"\xff\xd8\xff")
        || is_tiff(start)
        || start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP");
    readable || UNREAD[..5].iter().any(|(_, is)| is(start))
}

fn is_tiff(start: &[u8]) -> bool {
    start.starts_with(b"II*\0") || start.starts_with(b"MM\0*")
}

/// Why a file of these bytes and this ending cannot be read, where that is not for the decoders to say.
pub(super) fn why_unread(bytes: &[u8], ending: &str) -> Option<String> {
    let start = &bytes[..bytes.len().min(ENOUGH as usize)];
    if bytes.is_empty() {
        return Some("it is empty".into());
    }
    if start.starts_with(b"version https://git-lfs") {
        return Some("it is a Git LFS pointer, and the image is fetched by `git lfs pull`".into());
    }
    if RAW.contains(&ending) {
        return Some("it is a camera's raw file; convert it to PNG or JPEG".into());
    }
    match UNREAD.iter().find(|(_, is)| is(start))?.0 {
        "DICOM" if cfg!(feature = "dicom") => None,
        "DICOM" => Some(
            "it holds DICOM, which this program was built without; build it with `--features prism-train/dicom`, or \
             convert the file to PNG"
                .into(),
        ),
        name => Some(format!("it holds {name}, which is not read; convert it to PNG, JPEG or TIFF")),
    }
}

/// Whether it is a DICOM file with its usual beginning.
pub(super) fn is_dicom(start: &[u8]) -> bool {
    start.get(128..132) == Some(b"DICM")
}

/// Whether a TIFF file has a second page.
pub(super) fn has_pages(bytes: &[u8]) -> bool {
    second_page(bytes).is_some_and(|offset| offset != 0)
}

/// Where a TIFF file says that its second page is; 0 for nowhere.
fn second_page(bytes: &[u8]) -> Option<u32> {
    if !is_tiff(bytes) {
        return None;
    }
    let little = bytes[0] == b'I';
    let short = |at: usize| {
        let two = [*bytes.get(at)?, *bytes.get(at + 1)?];
        Some(if little { u16::from_le_bytes(two) } else { u16::from_be_bytes(two) })
    };
    let long = |at: usize| {
        let (a, b) = (u32::from(short(at)?), u32::from(short(at + 2)?));
        Some(if little { b << 16 | a } else { a << 16 | b })
    };
    let first = long(4)? as usize;
    let entries = usize::from(short(first)?);
    long(first.checked_add(2 + 12 * entries)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_named_with_what_to_do() {
        let dicom = [&[0; 128][..], b"DICM"].concat();
        for (bytes, ending, words) in [
            (&b""[..], "png", "empty"),
            (b"version https://git-lfs.github.com/spec/v1\n", "jpg", "git lfs pull"),
            (b"GIF89a\x01\0", "jpg", "holds GIF"),
            (b"\0\0\0\x18ftypheic", "jpg", "holds HEIC"),
            (b"II*\0", "nef", "raw file"),
        ] {
            let why = why_unread(bytes, ending).unwrap();
            assert!(why.contains(words), "{why}");
        }
        assert_eq!(why_unread(b"\x89PNG\r\n", "png"), None);
        let why = why_unread(&dicom, "dcm").unwrap_or("nothing".into());
        assert!(
            why.contains(if cfg!(feature = "dicom") { "nothing" } else { "--features prism-train/dicom" }),
            "{why}"
        );
        assert!(!is_surely_image(b"\0\0\0\x18ftypisom"), "a film");
        assert!(is_surely_image(&dicom) && is_surely_image(b"\xff\xd8\xff\xe0") && !is_surely_image(b"BM, a text"));
    }

    #[test]
    fn a_second_page_is_found_in_either_byte_order_and_hostile_offsets_do_no_harm() {
        let page = |order: &[u8], bytes: [[u8; 4]; 2]| [order, &bytes[0], &[0, 0], &bytes[1]].concat();
        assert!(has_pages(&page(b"II*\0", [[8, 0, 0, 0], [9, 0, 0, 0]])));
        assert!(has_pages(&page(b"MM\0*", [[0, 0, 0, 8], [0, 0, 0, 9]])));
        assert!(!has_pages(&page(b"II*\0", [[8, 0, 0, 0], [0; 4]])));
        assert!(!has_pages(&page(b"II*\0", [[255; 4], [255; 4]])) && !has_pages(b"II*\0") && !has_pages(b"text"));
    }
}
