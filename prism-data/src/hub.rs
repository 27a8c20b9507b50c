//! The well-known sets from the Hugging Face hub, where no files were found (`hub` feature).
//!
//! The hub keeps each set as a Parquet table of PNG files and labels, at `CONFIG/SPLIT/0000.parquet` of the revision
//! `refs/convert/parquet`. The table is fetched once and stays in the hub's own cache (`HF_HOME`).

use std::fs::File;
use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Repo, RepoType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use prism_core::{Error, Result};

use super::{Blueprint, Dataset, LoadOptions, Source, Split, decode};

/// Rows that one table may have.
const MAX_ROWS: i64 = 10_000_000;

/// Where the hub keeps a set, and what it is.
struct Table {
    repository: &'static str,
    config: &'static str,
    channels: usize,
    classes: [&'static str; 10],
}

fn table(source: Source) -> Option<Table> {
    let table = |repository, config, channels, classes| Some(Table { repository, config, channels, classes });
    match source {
        Source::Mnist => table("ylecun/mnist", "mnist", 1, super::DIGIT_NAMES),
        Source::FashionMnist => table("zalando-datasets/fashion_mnist", "fashion_mnist", 1, super::FASHION_NAMES),
        Source::Cifar10 => table("uoft-cs/cifar10", "plain_text", 3, super::CIFAR_NAMES),
        Source::Strokes | Source::Folder => None,
    }
}

/// Fetches and loads a set.
///
/// # Errors
/// As [`super::load`], and [`Error::Io`] if the hub cannot be reached.
pub(super) fn load(source: Source, options: &LoadOptions) -> Result<Dataset> {
    let Some(table) = table(source) else {
        return Err(Error::usage(format!("data set '{source}' is not on the hub; name its folder with --data-dir")));
    };
    let split = match options.split {
        Split::Train => "train",
        Split::Test => "test",
    };
    let path = fetch(table.repository, &format!("{}/{split}/0000.parquet", table.config))?;
    load_table(source, &table, &path, options)
}

/// Loads a set from its table at `path`.
fn load_table(source: Source, table: &Table, path: &Path, options: &LoadOptions) -> Result<Dataset> {
    let corrupt = |why: String| {
        Error::corrupt(path.display().to_string(), format!("{why}; delete this file to have it fetched again"))
    };
    let rows = contained(|| read_rows(path, options.limit)).map_err(corrupt)?;
    if let Some(row) = rows.iter().position(|(_, label)| usize::from(*label) >= table.classes.len()) {
        return Err(corrupt(format!("row {row} has label {}, but there are only 10 classes", rows[row].1)));
    }
    let channels = options.channels.unwrap_or(table.channels);
    Blueprint {
        name: source.name().into(),
        images: rows.len(),
        channels,
        class_names: table.classes.map(String::from).to_vec(),
        labels: Some(rows.iter().map(|row| row.1).collect()),
    }
    .build(options, |index, image| {
        let shape = decode::Shape { channels, size: options.image_size, intensity: options.intensity };
        decode::decode_into(&rows[index].0, "png", shape, image)
            .map(drop)
            .map_err(|why| corrupt(format!("the image of row {index} cannot be decoded ({why})")))
    })
}

/// The local copy of a file of a data set's repository, fetched if it is not there.
fn fetch(repository: &str, file: &str) -> Result<PathBuf> {
    if std::env::var_os("HF_HOME").is_none() && std::env::home_dir().is_none() {
        return Err(Error::usage("there is no home folder for the hub's cache; set HF_HOME to a folder"));
    }
    let revision = "refs/convert/parquet".to_string();
    let repo = Repo::with_revision(repository.into(), RepoType::Dataset, revision);
    let download = || {
        let api = ApiBuilder::from_env().with_progress(std::io::stderr().is_terminal()).with_retries(2).build();
        api.and_then(|api| api.repo(repo).get(file)).map_err(|error| error.to_string())
    };
    contained(download).map_err(|why| {
        let why = format!(
            "{why}; check the network connection, or fetch the set by hand and name its folder with --data-dir"
        );
        Error::io("fetch from the Hugging Face hub", Path::new(repository).join(file), std::io::Error::other(why))
    })
}

/// The file content and label of each row, up to `limit` rows.
fn read_rows(path: &Path, limit: Option<usize>) -> std::result::Result<Vec<(Vec<u8>, u16)>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
    let count = reader.metadata().file_metadata().num_rows();
    if !(1..=MAX_ROWS).contains(&count) {
        return Err(format!("it announces {count} rows; it may hold 1 to {MAX_ROWS}"));
    }
    let rows = reader.get_row_iter(None).map_err(|error| error.to_string())?;
    let rows: Vec<_> = rows
        .take(limit.unwrap_or(usize::MAX))
        .enumerate()
        .map(|(index, row)| {
            let row = row.map_err(|error| error.to_string())?;
            image_and_label(row).ok_or_else(|| format!("row {index} has no image with its bytes or no label"))
        })
        .collect::<std::result::Result<_, _>>()?;
    let expected = limit.map_or(count as usize, |limit| limit.min(count as usize));
    if rows.len() != expected {
        return Err(format!("it announces {count} rows but ends after {}", rows.len()));
    }
    Ok(rows)
}

/// Columns `image` (or `img`), a group with the file's `bytes`, and `label`.
fn image_and_label(row: Row) -> Option<(Vec<u8>, u16)> {
    let (mut image, mut label) = (None, None);
    for (name, field) in row.into_columns() {
        match (name.as_str(), field) {
            ("image" | "img", Field::Group(file)) => {
                image = file.into_columns().into_iter().find_map(|(name, field)| match field {
                    Field::Bytes(bytes) if name == "bytes" => Some(bytes.data().to_vec()),
                    _ => None,
                });
            }
            ("label", Field::Long(number)) => label = u16::try_from(number).ok(),
            _ => {}
        }
    }
    Some((image?, label?))
}

/// Runs code of others that may panic on what a network or a damaged cache hands it, and makes that an error.
fn contained<T>(run: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("its reader failed on what it found".into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use image::{ExtendedColorType, ImageFormat};
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::super::decode::tests::encode;
    use super::*;

    /// A table as the hub writes it: `image` is the name of the column of images.
    fn write_table(path: &Path, image: &str, images: &[Vec<u8>], labels: &[i64]) {
        let schema = format!(
            "message schema {{ optional group {image} {{ optional binary bytes; optional binary path (UTF8); }} \
             optional int64 label; }}"
        );
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let bytes: Vec<ByteArray> = images.iter().map(|bytes| ByteArray::from(bytes.clone())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&bytes, Some(&vec![2; images.len()]), None).unwrap();
        column.close().unwrap();
        // The path is null in every row.
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; images.len()]), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(labels, Some(&vec![1; labels.len()]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
    }

    fn grey(value: u8) -> Vec<u8> {
        encode(ImageFormat::Png, ExtendedColorType::L8, (28, 28), &[value; 784])
    }

    fn load_from(path: &Path, source: Source, limit: Option<usize>) -> Result<Dataset> {
        let options = LoadOptions { image_size: 8, limit, ..LoadOptions::default() };
        load_table(source, &table(source).unwrap(), path, &options)
    }

    #[test]
    fn a_table_of_images_becomes_a_data_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0000.parquet");
        write_table(&path, "image", &[grey(10), grey(20), grey(30)], &[7, 0, 9]);
        let set = load_from(&path, Source::Mnist, None).unwrap();
        assert_eq!((set.name(), set.len(), set.channels(), set.classes()), ("mnist", 3, 1, 10));
        assert_eq!((set.image(1), set.labels().unwrap()), ([20; 64].as_slice(), [7, 0, 9].as_slice()));
        assert_eq!(load_from(&path, Source::Mnist, Some(2)).unwrap().len(), 2);
        write_table(&path, "img", &[grey(10)], &[3]);
        assert_eq!(load_from(&path, Source::Cifar10, None).unwrap().image(0), [10; 192]);
    }

    #[test]
    fn broken_tables_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0000.parquet");
        let error = || load_from(&path, Source::Mnist, None).unwrap_err().to_string();
        for label in [10, -1, 1 << 40] {
            write_table(&path, "image", &[grey(1)], &[label]);
            assert!(error().contains("label"), "{}", error());
        }
        write_table(&path, "picture", &[grey(1)], &[1]);
        assert!(error().contains("row 0 has no image"), "{}", error());
        write_table(&path, "image", &[grey(1), b"no picture".to_vec()], &[1, 2]);
        assert!(error().contains("the image of row 1") && error().contains("fetched again"), "{}", error());
        write_table(&path, "image", &[], &[]);
        assert!(error().contains("0 rows"), "{}", error());

        write_table(&path, "image", &[grey(1), grey(2)], &[1, 2]);
        let bytes = fs::read(&path).unwrap();
        for length in (0..bytes.len()).step_by(7) {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(load_from(&path, Source::Mnist, None).is_err(), "{length} bytes passed");
        }
        for at in (0..bytes.len()).step_by(3) {
            let mut altered = bytes.clone();
            altered[at] ^= 0x55;
            fs::write(&path, &altered).unwrap();
            // Whatever becomes of it, the test goes on.
            let _ = load_from(&path, Source::Mnist, None);
        }
    }

    #[test]
    fn every_set_of_the_hub_has_a_table_and_no_other() {
        let on_hub = Source::ALL.into_iter().filter(|&source| table(source).is_some());
        assert_eq!(on_hub.collect::<Vec<_>>(), [Source::Mnist, Source::FashionMnist, Source::Cifar10]);
        assert!(load(Source::Strokes, &LoadOptions::default()).is_err());
    }

    #[test]
    fn a_panic_in_a_reader_is_an_error() {
        assert!(contained::<()>(|| panic!("a hostile file")).is_err());
    }
}
