//! The card of a model: what the Hugging Face hub shows of it, and the YAML by which it lists it.
//!
//! ```text
//! ---
//! fixed words in YAML: names in a file are its maker's, and none of them gets in here
//! ---
//! Markdown, all of it said by the artifact itself
//! ```

use std::fmt::Write;

use prism_core::Result;
use prism_core::artifact::{Artifact, Description};

/// What stands before the name of the data set.
pub const TITLE: &str = "\n# Images like those of ";

/// Characters that mean something in Markdown or HTML.
const MARKUP: &str = "\\`*_{}[]<>|&~$:";

/// The card of `artifact`, which readers will load by the name `source`: a file or a repository of the hub. It shows a picture
/// `samples.png`, which belongs beside it.
///
/// # Errors
/// [`prism_core::Error::Corrupt`] if the model's privacy claim does not follow from its noise: no card repeats it.
pub fn card(artifact: &Artifact, source: &str) -> Result<String> {
    let description = &artifact.meta().description;
    if let Some(claim) = &description.training.claim {
        claim.verify()?;
    }
    let mut card = front(description.training.claim.is_some());
    let clients = description.training.clients;
    let parties = if clients == 1 { "One party".into() } else { format!("{clients} parties") };
    // Writing into a string cannot fail.
    let _ = write!(
        card,
        "{TITLE}{}\n\n![Images that this model draws](samples.png)\n\n{parties} trained this generator \
         without pooling images: it is a mask over a frozen random network, in one small file.\n\n| | |\n|---|---|\n",
        plain(&description.dataset)
    );
    for (name, value) in rows(artifact) {
        let _ = writeln!(card, "| {name} | {} |", plain(&value));
    }
    let _ = write!(
        card,
        "\n## Use\n\n```python\nimport prism_fl\n\nmodel = prism_fl.load({source:?})\nimages = model.sample(64, seed=0)  # \
         numpy, [n, height, width, channels]\n```\n\n`prism-infer info model.safetensors.zst --verify` draws the model's \
         known image again, and computes its privacy claim, where it has one, from the noise.\n"
    );
    Ok(card)
}

/// The YAML.
fn front(private: bool) -> String {
    let promise = if private { "- differential-privacy\n" } else { "" };
    format!(
        "---\nlibrary_name: prism\npipeline_tag: unconditional-image-generation\ntags:\n- federated-learning\n\
         - image-generation\n{promise}---\n"
    )
}

/// What the artifact says about itself.
fn rows(artifact: &Artifact) -> Vec<(&'static str, String)> {
    let Description { architecture: arch, training, class_names, components, .. } = &artifact.meta().description;
    let description = &artifact.meta().description;
    let stats = artifact.stats();
    let colour = if arch.channels == 1 { "grey" } else { "colour" };
    let classes = match (arch.classes, class_names.is_empty()) {
        (0, _) => "none".into(),
        (n, true) => n.to_string(),
        (n, false) => format!("{n}, called {}", class_names.join(", ")),
    };
    let mixture = if *components > 1 { format!(", a mixture of {components}") } else { String::new() };
    vec![
        ("images", format!("{0} x {0}, {colour}", arch.image_size)),
        ("classes", classes),
        ("data set", description.dataset.clone()),
        ("privacy", description.privacy.clone()),
        (
            "generator",
            format!(
                "ngf {}, latent {}, {} weights, of which {:.1}% are kept{mixture}",
                arch.ngf,
                arch.latent,
                stats.weights,
                100.0 * stats.density
            ),
        ),
        (
            "training",
            format!(
                "{} rounds, {} clients, {} local steps, partition {}",
                training.rounds, training.clients, training.local_steps, training.partition
            ),
        ),
        ("traffic", format!("{} bytes up, {} bytes down", training.uplink_bytes, training.downlink_bytes)),
        ("encoder", description.encoder.clone()),
        ("payload hash", artifact.meta().payload_sha256.clone()),
    ]
}

/// A text that is shown as it is.
fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if MARKUP.contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &[u8] = include_bytes!("../../models/mnist-rounds.safetensors.zst");

    fn altered(alter: impl FnOnce(&mut Description)) -> Artifact {
        let read = Artifact::from_bytes(MODEL).unwrap();
        let mut description = read.meta().description.clone();
        alter(&mut description);
        Artifact::new(description, read.components().to_vec()).unwrap()
    }

    #[test]
    fn a_card_says_what_the_model_says() {
        let card = card(&altered(|_| ()), "owner/digits").unwrap();
        assert!(card.starts_with("---\nlibrary_name: prism\n"), "{card}");
        assert!(
            card.contains("\n# Images like those of mnist\n") && card.contains("| images | 32 x 32, grey |"),
            "{card}"
        );
        assert!(card.contains("| privacy | none") && !card.contains("differential-privacy"), "{card}");
        assert!(card.contains("prism_fl.load(\"owner/digits\")"), "{card}");
    }

    #[test]
    fn names_in_a_model_are_no_markup_and_no_yaml() {
        let hostile = "a | b <script> [x](http://y)\u{2028}--- `c`";
        let card = card(&altered(|description| description.dataset = hostile.into()), "x").unwrap();
        let front = card.split("---\n").nth(1).unwrap();
        assert!(!front.contains("script"), "{front}");
        assert!(card.contains("| data set | a \\| b \\<script\\> \\[x\\](http\\://y)\u{2028}--- \\`c\\` |"), "{card}");
    }

    #[test]
    fn no_card_repeats_a_claim_that_its_noise_does_not_bear() {
        use prism_core::privacy::{Adjacency, Claim, Total, Trust, Unit, epsilon_of};
        let claim = |epsilon: f64| {
            let total = Total { draws: 1, adjacency: Adjacency::REPLACE_ONE, rho: 0.036, epsilon };
            Claim {
                unit: Unit::Image,
                adjacency: Adjacency::REPLACE_ONE,
                trust: Trust::Local,
                epsilon,
                delta: 1e-5,
                rho: 0.036,
                encoder_images: "cifar10".into(),
                total,
            }
        };
        let found = epsilon_of(0.036, 1e-5);
        let of = |epsilon| card(&altered(|description| description.training.claim = Some(claim(epsilon))), "x");
        assert!(of(found).unwrap().contains("- differential-privacy\n"));
        assert!(of(0.9 * found).unwrap_err().to_string().contains("its noise gives"));
    }
}
