//! What the name of a folder says: that it is a part of a split, or no images of anybody.

/// A part of a data set that was divided before it came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    /// Held out. Where there is this and [`Part::Validation`], this is what metrics read.
    Test,
    Validation,
    /// Images that belong to neither, such as those of a competition that have no labels.
    Other,
}

/// Every word for each part, in lower case.
const PARTS: [(Part, &[&str]); 4] = [
    (Part::Train, &["train", "training", "trn"]),
    (Part::Test, &["test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"]),
    (Part::Validation, &["val", "valid", "validation", "dev"]),
    (Part::Other, &["pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled"]),
];

/// Words that add nothing to the name of a part, as in `seg_train` or `Test images`.
const FILLERS: &[&str] = &["set", "seg", "data", "dataset", "images", "image", "imgs", "img", "split"];

/// Folders that operating systems, servers and archives leave behind, in lower case.
const SYSTEM: &[&str] = &[
    "__macosx",
    "__pycache__",
    "$recycle.bin",
    "recycler",
    "#recycle",
    "@eadir",
    "@__thumb",
    "system volume information",
    "lost+found",
    "found.000",
    "network trash folder",
    "temporary items",
];

/// Words for what was drawn over images, in lower case.
const ANNOTATIONS: &[&str] = &["mask", "annotation", "segmentation", "groundtruth", "label"];

/// The part of a split that a folder called `name` is; none for a class. In any case, and by every usual word.
pub(super) fn part_of_split(name: &str) -> Option<Part> {
    let word = words(name);
    let word = word.strip_suffix("set").unwrap_or(&word);
    PARTS.iter().find(|(_, words)| words.contains(&word)).map(|&(part, _)| part)
}

/// Whether a folder called `name` was made by a system and not by a person.
pub(super) fn is_system(name: &str) -> bool {
    name.starts_with('.') || SYSTEM.contains(&name.to_lowercase().as_str())
}

/// Whether a folder called `name`, inside a class, holds drawings over its images and not images.
pub(super) fn is_annotation(name: &str) -> bool {
    let word = words(name);
    ANNOTATIONS.contains(&word.strip_suffix('s').unwrap_or(&word))
}

/// The words of a name in lower case without those that add nothing, all in one.
fn words(name: &str) -> String {
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).filter(|word| !FILLERS.contains(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_split_are_known_in_any_case_and_by_every_usual_word() {
        for (part, names) in [
            (Part::Train, ["train", "Train", "TRAINING", "seg_train", "train-set", "Trainset", "Training Images"]),
            (Part::Test, ["test", "Testing", "seg_test", "TestSet", "eval", "hold-out", "test.images"]),
            (Part::Validation, ["val", "Valid", "VALIDATION", "dev", "valset", "val_set", "dev-set"]),
            (Part::Other, ["seg_pred", "unlabeled", "pred", "Predict", "predictions", "Unlabelled", "pred_images"]),
        ] {
            names.iter().for_each(|name| assert_eq!(part_of_split(name), Some(part), "{name}"));
        }
        for name in ["cat", "trains", "training shoes", "train station", "tests", "set", "images", "", "dataset", "1"] {
            assert_eq!(part_of_split(name), None, "{name}");
        }
    }

    #[test]
    fn folders_of_systems_and_of_annotations_are_known() {
        assert!([".git", "__MACOSX", "$RECYCLE.BIN", "lost+found", "@eaDir"].into_iter().all(is_system));
        assert!(!["cat", "found", "_cat", "$cat"].into_iter().any(is_system));
        assert!(["masks", "Mask", "ground_truth", "annotations", "label images"].into_iter().all(is_annotation));
        assert!(!["patient 1", "images", "masked", ""].into_iter().any(is_annotation));
    }
}
