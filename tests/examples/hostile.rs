//! Writes forged models with checksums that are right, for the tests of the bindings, which must do with each what is done
//! here: `taken-0007` is read, `refused-0008` is not.
//!
//! ```sh
//! cargo run -p e2e --example hostile -- FOLDER
//! ```

use std::fs;
use std::path::PathBuf;

use e2e::fuzzing::{artifact_file, forge, of_kind};
use prism_core::artifact::Artifact;
use prism_core::stream::{Purpose, StreamId};

/// How many of each kind. Few forged models are taken, so there are as many tries as it takes.
const REFUSED: usize = 280;
const TAKEN: usize = 20;

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("say hostile FOLDER"));
    fs::create_dir_all(&folder).expect("the folder can be made");
    let truths = of_kind("artifact").remove(0).truths;
    let mut stream = StreamId::new(0, Purpose::Test).open();
    let (mut taken, mut refused) = (0, 0);
    while taken < TAKEN || refused < REFUSED {
        let file = artifact_file(&forge(&truths, &mut stream));
        let (verdict, count, most) = match Artifact::from_bytes(&file) {
            Ok(_) => ("taken", &mut taken, TAKEN),
            Err(_) => ("refused", &mut refused, REFUSED),
        };
        if *count < most {
            fs::write(folder.join(format!("{verdict}-{count:04}")), file).expect("the file is written");
            *count += 1;
        }
    }
    println!("{refused} forged models that are refused and {taken} that are taken");
}
