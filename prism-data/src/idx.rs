//! IDX files, the format of MNIST: bytes in an array of one or three dimensions, plain or gzipped.
//!
//! ```text
//! 00 00 08 D   D dimensions, 4 big-endian bytes each   then the values, one byte each
//! ```
//!
//! The header is read first, and then exactly as many bytes as it announces; more or fewer are an error. So a gzip bomb
//! costs no more than the announced array, which is bounded.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use prism_core::{Error, Result};

/// Values that one file may hold: 1 GiB, a million pictures of 32x32.
const MAX_VALUES: u64 = 1 << 30;

/// Side of the largest picture.
const MAX_SIDE: u32 = 1024;

/// Pictures `[count, rows, columns]`.
#[derive(Debug)]
pub(super) struct Images {
    pub count: usize,
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<u8>,
}

/// Reads a file of pictures.
pub(super) fn images(path: &Path) -> Result<Images> {
    let ([count, rows, columns], values) = read::<3>(path, |[_, rows, columns]| {
        let allowed = 1..=MAX_SIDE;
        (!allowed.contains(&rows) || !allowed.contains(&columns))
            .then(|| format!("it announces pictures of {rows}x{columns} pixels; the limit is {MAX_SIDE}x{MAX_SIDE}"))
    })?;
    Ok(Images { count: count as usize, rows: rows as usize, columns: columns as usize, values })
}

/// Reads a file of labels, each of which must be below `classes`.
pub(super) fn labels(path: &Path, classes: usize) -> Result<Vec<u16>> {
    let (_, values) = read::<1>(path, |_| None)?;
    match values.iter().position(|&label| usize::from(label) >= classes) {
        Some(at) => Err(Error::corrupt(
            path.display().to_string(),
            format!(
                "label {at} is {}, but there are only {classes} classes; if this is another set of more classes, choose \
                 `dataset` folder, which reads it as it comes, else fetch the file again",
                values[at]
            ),
        )),
        None => Ok(values.into_iter().map(u16::from).collect()),
    }
}

/// The dimensions and values of a file of `D` dimensions, unless `refuse` objects to the dimensions.
fn read<const D: usize>(path: &Path, refuse: impl Fn([u32; D]) -> Option<String>) -> Result<([u32; D], Vec<u8>)> {
    let failed = |error: std::io::Error| match error.kind() {
        // What the decompressor has to say about bad data comes as one of these.
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
            corrupt(path, format!("the compressed data is damaged ({error})"))
        }
        std::io::ErrorKind::UnexpectedEof => corrupt(path, "it ends early".into()),
        _ => Error::io("read", path, error),
    };
    let mut input = open(path).map_err(failed)?;
    let mut magic = [0; 4];
    input.read_exact(&mut magic).map_err(failed)?;
    if magic != [0, 0, 8, D as u8] {
        return Err(corrupt(path, format!("it begins with {magic:02x?} and not with [00, 00, 08, {D:02x}]")));
    }
    let mut dimensions = [0; D];
    for dimension in &mut dimensions {
        let mut bytes = [0; 4];
        input.read_exact(&mut bytes).map_err(failed)?;
        *dimension = u32::from_be_bytes(bytes);
    }
    if let Some(why) = refuse(dimensions) {
        return Err(corrupt(path, why));
    }
    let announced = dimensions.iter().try_fold(1u64, |product, &d| product.checked_mul(u64::from(d)));
    let Some(announced) = announced.filter(|values| (1..=MAX_VALUES).contains(values)) else {
        return Err(corrupt(path, format!("it announces {dimensions:?} values; it may hold 1 to {MAX_VALUES}")));
    };
    // Memory grows with what is really there, not with what the header says.
    let mut values = Vec::new();
    input.take(announced + 1).read_to_end(&mut values).map_err(failed)?;
    match (values.len() as u64).cmp(&announced) {
        std::cmp::Ordering::Less => {
            Err(corrupt(path, format!("it announces {announced} values but ends after {}", values.len())))
        }
        std::cmp::Ordering::Greater => {
            Err(corrupt(path, format!("it goes on after the {announced} values it announces")))
        }
        std::cmp::Ordering::Equal => Ok((dimensions, values)),
    }
}

/// The file's content, decompressed if it is gzipped, whatever it is called.
fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let mut start = [0; 2];
    let mut file = File::open(path)?;
    let length = file.read(&mut start)?;
    let whole = BufReader::with_capacity(1 << 16, File::open(path)?);
    Ok(if start[..length] == [0x1f, 0x8b] { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

fn corrupt(path: &Path, why: String) -> Error {
    Error::corrupt(path.display().to_string(), format!("{why}; fetch the file again"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    /// The bytes of an IDX file.
    pub(in super::super) fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
        dimensions.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn with_file<T>(bytes: &[u8], use_it: impl FnOnce(&Path) -> T) -> T {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        use_it(file.path())
    }

    fn image_error(bytes: &[u8]) -> String {
        with_file(bytes, |path| images(path).unwrap_err().to_string())
    }

    #[test]
    fn plain_and_gzipped_files_read_alike() {
        let plain = idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        for bytes in [plain.clone(), gzip(&plain)] {
            let images = with_file(&bytes, |path| images(path).unwrap());
            assert_eq!((images.count, images.rows, images.columns), (2, 2, 3));
            assert_eq!(images.values, (1..=12).collect::<Vec<u8>>());
        }
        assert_eq!(with_file(&idx(&[3], &[0, 9, 4]), |path| labels(path, 10).unwrap()), [0, 9, 4]);
    }

    #[test]
    fn hostile_headers_are_refused() {
        assert!(image_error(&idx(&[2], &[1, 2])).contains("begins with"));
        assert!(image_error(b"\x89PNG and so on").contains("begins with"));
        assert!(image_error(b"").contains("ends early"));
        assert!(image_error(&idx(&[1], &[])[..6]).contains("begins with"));
        assert!(image_error(&idx(&[2, 3, 3], &[0; 17])).contains("ends after 17"));
        assert!(image_error(&idx(&[2, 3, 3], &[0; 19])).contains("goes on"));
        assert!(image_error(&idx(&[0, 3, 3], &[])).contains("may hold 1 to"));
        assert!(image_error(&idx(&[2, 0, 3], &[])).contains("0x3"));
        assert!(image_error(&idx(&[u32::MAX, u32::MAX, u32::MAX], &[])).contains("pixels"));
        assert!(image_error(&idx(&[u32::MAX, 1024, 1024], &[])).contains("may hold 1 to"));
        let labels = with_file(&idx(&[3], &[0, 10, 4]), |path| labels(path, 10).unwrap_err().to_string());
        assert!(labels.contains("label 1 is 10"), "{labels}");
    }

    #[test]
    fn damaged_compression_is_refused() {
        let bytes = gzip(&idx(&[20, 5, 5], &(0..250).cycle().take(500).collect::<Vec<u8>>()));
        for length in 0..bytes.len() {
            with_file(&bytes[..length], |path| assert!(images(path).is_err(), "{length} bytes passed"));
        }
        let mut flipped = bytes.clone();
        let checksum = flipped.len() - 6;
        flipped[checksum] ^= 1;
        assert!(image_error(&flipped).contains("damaged"), "{}", image_error(&flipped));
    }

    /// 64 MiB of zeros in a few kilobytes behind a header that announces 9 values: only those and one more are unpacked.
    #[test]
    fn a_gzip_bomb_is_cut_off() {
        let mut bomb = idx(&[1, 3, 3], &[]);
        bomb.resize(1 << 26, 0);
        let bytes = gzip(&bomb);
        assert!(bytes.len() < 1 << 20);
        assert!(image_error(&bytes).contains("goes on after the 9 values"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_cause_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..64), dimensions in 0u8..5, compress: bool,
        ) {
            let mut file = vec![0, 0, 8, dimensions];
            file.extend(bytes);
            let file = if compress { gzip(&file) } else { file };
            with_file(&file, |path| {
                let _ = images(path);
                let _ = labels(path, 10);
            });
        }
    }
}
