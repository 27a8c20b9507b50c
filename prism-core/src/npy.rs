//! NumPy's array files: `f32` arrays written, `f32` and `f64` arrays read.
//!
//! ```text
//! 93 "NUMPY" major minor  header length  {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  values
//! ```
//!
//! See NumPy Enhancement Proposal 1. Versions 1 to 3 are read, version 1.0 is written.

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Most bytes of the header that is read.
const MAX_HEADER: usize = 1 << 16;

/// The bytes before the values of a little-endian `f32` array of `shape`, row-major.
pub fn header(shape: &[usize]) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sides}), }}");
    // Magic, version and length take 10 bytes; spaces and a line feed bring the whole to a multiple of 64.
    let padding = 63 - (10 + text.len()) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

/// The values as the bytes that follow a [`header`].
pub fn values(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Why an array file is not read: a clause that says what is wrong, and how to write the array instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file is damaged, or no array file.
    #[error("{0}")]
    Damaged(String),
    /// The file is sound, and its array of a form that is not read.
    #[error("{0}")]
    Unsuited(String),
}

/// Shape and values of an array file, row-major; `f64` values are rounded to `f32`.
///
/// # Errors
/// [`Refusal`], which tells a damaged file from one that must be written otherwise.
pub fn read(file: &[u8]) -> Result<(Vec<usize>, Vec<f32>), Refusal> {
    let damaged = |why: &str| Refusal::Damaged(why.into());
    let (text, data) =
        split(file).ok_or(damaged("it does not begin as an .npy file does: write it with numpy.save"))?;
    let field = |name| {
        let missing = || Refusal::Damaged(format!("its header names no {name}: write it with numpy.save"));
        field(text, name).ok_or_else(missing)
    };
    if field("fortran_order")? != "False" {
        return Err(Refusal::Unsuited("it runs column by column: write numpy.ascontiguousarray(array)".into()));
    }
    let shape = parse_shape(field("shape")?).ok_or(damaged("its header's shape is no list of numbers"))?;
    let width = width(field("descr")?)?;
    let count = shape.iter().try_fold(1usize, |count, side| count.checked_mul(*side));
    if count.and_then(|count| count.checked_mul(width)) != Some(data.len()) {
        let bytes = data.len();
        return Err(Refusal::Damaged(format!(
            "its shape is {shape:?} and it holds {bytes} bytes of numbers: it was cut short"
        )));
    }
    let values = match width {
        4 => data.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect(),
        _ => data.as_chunks::<8>().0.iter().map(|v| rounded(f64::from_le_bytes(*v))).collect::<Result<_, _>>()?,
    };
    Ok((shape, values))
}

/// Bytes of a number of the type `descr`.
fn width(descr: &str) -> Result<usize, Refusal> {
    match descr {
        "<f4" => Ok(4),
        "<f8" => Ok(8),
        other => {
            let other: String = other.chars().filter(|c| c.is_ascii_graphic()).take(20).collect();
            let why = format!("its numbers are of type {other}, not <f4 or <f8: write array.astype('float32')");
            Err(Refusal::Unsuited(why))
        }
    }
}

/// `value` as `f32`, unless it is too large for one: the infinity that it would become stands nowhere in the file.
fn rounded(value: f64) -> Result<f32, Refusal> {
    let rounded = value as f32;
    if value.is_finite() && !rounded.is_finite() {
        return Err(Refusal::Unsuited(format!(
            "it holds {value:e}, and float32 ends at {:e}: write smaller numbers",
            f32::MAX
        )));
    }
    Ok(rounded)
}

/// The header's text and the bytes after it.
fn split(file: &[u8]) -> Option<(&str, &[u8])> {
    let ([major, _minor], rest) = file.strip_prefix(MAGIC)?.split_first_chunk::<2>()?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk::<2>().map(|(n, rest)| (usize::from(u16::from_le_bytes(*n)), rest))?,
        2 | 3 => rest.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest))?,
        _ => return None,
    };
    let (text, data) = rest.split_at_checked(length).filter(|_| length <= MAX_HEADER)?;
    Some((std::str::from_utf8(text).ok()?, data))
}

/// The value of `'name': value` in the header's dictionary, without quotes.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text.split_once(&format!("'{name}':"))?;
    let value = value.trim_start();
    let end = if value.starts_with('(') { value.find(')')? + 1 } else { value.find([',', '}'])? };
    Some(value[..end].trim().trim_matches('\''))
}

fn parse_shape(text: &str) -> Option<Vec<usize>> {
    let sides = text.strip_prefix('(')?.strip_suffix(')')?;
    sides.split(',').map(str::trim).filter(|side| !side.is_empty()).map(|side| side.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(shape: &[usize], numbers: &[f32]) -> Vec<u8> {
        [header(shape), values(numbers)].concat()
    }

    /// `numpy.save(f, numpy.array([[1.5, -2.0]]))` of NumPy 2, which writes `f64`.
    #[test]
    fn numpys_own_bytes_are_read() {
        let mut bytes =
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }".to_vec();
        bytes.resize(127, b' ');
        bytes.push(b'\n');
        bytes.extend([1.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()));
        assert_eq!(read(&bytes), Ok((vec![1, 2], vec![1.5, -2.0])));
    }

    #[test]
    fn headers_are_aligned_and_as_numpy_writes_them() {
        for shape in [vec![], vec![3], vec![1, 2, 3, 4], vec![usize::MAX; 7]] {
            assert_eq!(header(&shape).len() % 64, 0);
        }
        let text = String::from_utf8(header(&[2, 3])[10..].to_vec()).unwrap();
        assert!(text.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, ), }"), "{text}");
    }

    #[test]
    fn foreign_arrays_are_refused_with_a_remedy() {
        let swap = |from: &str, to: &str| {
            let bytes = file(&[2], &[1.0, 2.0]);
            let text = String::from_utf8_lossy(&bytes[10..128]).replace(from, to);
            read(&[&bytes[..10], text.as_bytes(), &bytes[128..]].concat()).unwrap_err().to_string()
        };
        assert!(swap("<f4", "<i8").contains("astype"));
        assert!(swap("False", "True ").contains("ascontiguousarray"));
        assert!(swap("(2, )", "(3, )").contains("cut short"));
        assert!(swap("shape", "shade").contains("names no shape"));
        assert!(read(b"PK\x03\x04").unwrap_err().to_string().contains("numpy.save"));
    }

    #[test]
    fn a_number_beyond_float32_is_refused_as_it_stands_in_the_file() {
        let wide = |value: f64| {
            let text = String::from_utf8_lossy(&header(&[1])[10..]).replace("<f4", "<f8");
            read(&[&header(&[1])[..10], text.as_bytes(), &value.to_le_bytes()].concat())
        };
        let why = wide(-1e300).unwrap_err();
        assert!(matches!(&why, Refusal::Unsuited(why) if why.contains("-1e300")), "{why}");
        assert_eq!(wide(f64::NEG_INFINITY), Ok((vec![1], vec![f32::NEG_INFINITY])));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(shape in proptest::collection::vec(0usize..4, 0..4)) {
            let numbers: Vec<f32> = (0..shape.iter().product()).map(|v| v as f32).collect();
            prop_assert_eq!(read(&file(&shape, &numbers)), Ok((shape, numbers)));
        }

        #[test]
        fn damaged_files_never_panic(at in 0usize..160, value: u8, length in 0usize..200) {
            let mut bytes = file(&[2, 3], &[1.0; 6]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(length);
            let _ = read(&bytes);
        }
    }
}
