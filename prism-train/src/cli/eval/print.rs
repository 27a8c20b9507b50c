//! Figures of an evaluation: for people, for scripts and for a run's report.

use prism_core::file;
use prism_nn::{Error, Result};

use crate::metrics::classifier::ClassifierFigures;
use crate::metrics::evaluation::FeatureFigures;
use crate::metrics::tstr::TstrFigures;
use crate::metrics::{EvaluatedModel, Evaluation};

fn json(evaluation: &Evaluation) -> Result<String> {
    serde_json::to_string(evaluation).map_err(|e| Error::usage(format!("no JSON can be written: {e}")))
}

/// Keeps the figures of a run in its folder, where its report finds them.
pub fn save(model: &EvaluatedModel, evaluation: &Evaluation) -> Result<()> {
    if model.origin.is_some() {
        let text = json(evaluation)?;
        file::write_atomic(&model.path.join("evaluation.json"), |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Prints the figures.
pub fn print(evaluation: &Evaluation, as_json: bool) -> Result<()> {
    if as_json {
        prism_core::outln!("{}", json(evaluation)?);
        return Ok(());
    }
    let images = &evaluation.images;
    prism_core::outln!(
        "{} generated images of {} (seed {}) against {} real ones of {}, {} split",
        images.generated_images,
        evaluation.model,
        images.seed,
        images.real_images,
        images.dataset,
        images.split
    );
    evaluation.features.iter().for_each(|figures| print_features(figures, images.real_images));
    evaluation.classifier.iter().for_each(print_classifier);
    evaluation.tstr.iter().for_each(print_tstr);
    prism_core::errln!("{:.1} s; nearest neighbours: {}", evaluation.seconds, images.neighbours);
    Ok(())
}

fn print_features(figures: &FeatureFigures, real_images: usize) {
    let near = &figures.neighbourhood;
    prism_core::outln!("\nfeatures: {} ({} numbers)", figures.features, figures.width);
    match (figures.frechet_distance, figures.kernel_distance) {
        (Some(distance), _) => prism_core::outln!("  Frechet distance  {distance:>9.3}"),
        (None, distance) => {
            let (least, missing) = (figures.width + 1, (figures.width + 1).saturating_sub(real_images));
            prism_core::outln!("  Frechet distance          -  needs {least} real images, {missing} more");
            prism_core::outln!(
                "  kernel distance   {:>9.4}  in its place; noisy with few images",
                distance.unwrap_or(f64::NAN)
            );
        }
    }
    for (name, figure, meaning) in [
        ("precision", near.precision, "share of the generated images that look real"),
        ("recall", near.recall, "share of the real images that could be generated"),
        ("density", near.density, "real images around a generated one, 1 for real against real"),
        ("coverage", near.coverage, "share of the real images near a generated one"),
    ] {
        prism_core::outln!("  {name:<17} {figure:>9.4}  {meaning}");
    }
}

fn print_tstr(figures: &TstrFigures) {
    prism_core::outln!(
        "\ntrain on synthetic, test on real: share of {} real images told right, after {} epochs on {} generated ones",
        figures.real_images,
        figures.epochs,
        figures.generated_images
    );
    for learned in &figures.students {
        let real = learned
            .trained_on_real
            .map_or(String::new(), |share| format!("; trained on real images {:.2}%", 100.0 * share));
        prism_core::outln!("  {:>8.2}%  {}{real}", 100.0 * learned.accuracy, learned.student.name());
    }
    prism_core::outln!("  {:>8.2}%  lowest; mean {:.2}%", 100.0 * figures.lowest(), 100.0 * figures.mean());
}

fn print_classifier(figures: &ClassifierFigures) {
    let card = &figures.classifier;
    prism_core::outln!(
        "\nclassifier of {}, {:.2}% of its real test images right",
        card.dataset,
        100.0 * card.test_accuracy
    );
    prism_core::outln!("  confidence        {:>9.4}  mean probability that it gives its choice", figures.confidence);
    if let Some(agreement) = figures.agreement {
        prism_core::outln!("  agreement         {agreement:>9.4}  share put in the class that was asked for");
    }
    for (name, share) in card.class_names.iter().zip(&figures.histogram) {
        prism_core::outln!("  {name:<17} {:>8.2}%", 100.0 * share);
    }
}
