//! Which settings contradict each other, in one list.

use prism_core::Error;
use prism_nn::Result;
use prism_nn::encoder::without_prefixes;
use prism_nn::generator::Subclasses;

use super::privacy::{Mechanism, PrivacySettings};
use super::{Objective, Settings, TrainingMask, TrainingMode, UpdateCodec, limits};
use crate::codec::counts::MOST_ANSWERS;

/// Why settings contradict each other; nothing if they do not.
type Rule = fn(&Settings) -> Option<String>;

const RULES: [Rule; 14] = [
    privacy_takes_an_epsilon,
    noise_on_masks_has_no_features,
    one_shot_sends_no_masks,
    a_round_has_so_many_answers,
    sums_hide_masks_alone,
    a_sum_of_one_hides_nobody,
    a_mixture_is_trained_by_the_server,
    a_mixture_has_masks,
    latents_divide_into_subclasses,
    subclasses_come_from_images,
    sketches_do_not_bear_noise,
    mean_squares_are_for_noise,
    dense_weights_cross_as_numbers,
    privacy_needs_a_public_encoder,
];

impl Settings {
    /// Refuses numbers out of their range, and settings that contradict each other.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the setting, its value and what to choose.
    pub fn validate(&self) -> Result<()> {
        limits::check(&limits::LIMITS, self)?;
        if let Some(why) = RULES.iter().find_map(|rule| rule(self)) {
            return Err(Error::usage(why).into());
        }
        // Channels and classes come from the images; the rest of the shape is settled here, before any are read.
        Ok(self.model.architecture(1, 0).validate()?)
    }

    fn one_shot(&self) -> bool {
        self.federation.mode == TrainingMode::OneShot
    }

    fn noisy(&self, mechanism: Mechanism) -> bool {
        self.privacy.epsilon.is_some() && self.privacy.mechanism == mechanism
    }
}

fn privacy_takes_an_epsilon(s: &Settings) -> Option<String> {
    (s.privacy.epsilon.is_none() && s.privacy != PrivacySettings::default()).then(|| {
        "a setting of privacy is given without `epsilon`, so no noise would be added; give `epsilon`, or leave the other out"
            .to_string()
    })
}

fn noise_on_masks_has_no_features(s: &Settings) -> Option<String> {
    let PrivacySettings { features, adjacency, trust, .. } = PrivacySettings::default();
    let fitting = PrivacySettings { features, adjacency, trust, ..s.privacy.clone() };
    (s.noisy(Mechanism::Mask) && s.privacy != fitting).then(|| {
        "`mechanism` mask protects a client's whole data set by its own noise and releases no features; leave out `features`, \
         `adjacency` and `trust`"
            .to_string()
    })
}

fn one_shot_sends_no_masks(s: &Settings) -> Option<String> {
    let coded = s.wire.codec != UpdateCodec::Flips || s.wire.alpha > 0.0;
    if s.one_shot() && coded {
        let (codec, alpha) = (s.wire.codec, s.wire.alpha);
        return Some(format!(
            "`codec` {codec} with `alpha` {alpha} is for rounds, and `mode` one-shot sends neither masks nor scores; leave out \
             these or that"
        ));
    }
    (s.one_shot() && s.noisy(Mechanism::Mask)).then(|| {
        "`mechanism` mask protects masks, and `mode` one-shot sends none; leave out one of the two".to_string()
    })
}

fn a_round_has_so_many_answers(s: &Settings) -> Option<String> {
    let asked = s.federation.cohort_size();
    let (codec, counted) = (s.wire.codec, s.wire.codec.downlink().grid().is_some());
    (counted && !s.one_shot() && asked > MOST_ANSWERS).then(|| {
        format!(
            "{asked} clients are asked in a round, and `codec` {codec} holds the answers of {MOST_ANSWERS} at most; choose fewer \
             `clients`, a smaller `fraction`, or `codec` raw"
        )
    })
}

fn sums_hide_masks_alone(s: &Settings) -> Option<String> {
    let alpha = s.wire.alpha;
    (s.wire.codec == UpdateCodec::Sums && alpha > 0.0).then(|| {
        format!(
            "`alpha` is {alpha}, and `codec` sums hides masks alone, not scores; choose `alpha` 0, or `codec` flips"
        )
    })
}

fn a_sum_of_one_hides_nobody(s: &Settings) -> Option<String> {
    let asked = s.federation.cohort_size();
    (s.wire.codec == UpdateCodec::Sums && asked < 2).then(|| {
        format!(
            "{asked} client is asked in a round, and the sum of `codec` sums would be its very mask; choose more `clients`, a larger \
             `fraction`, or `codec` flips"
        )
    })
}

fn a_mixture_is_trained_by_the_server(s: &Settings) -> Option<String> {
    let components = s.model.components;
    (components > 1 && !s.one_shot()).then(|| {
        format!(
            "`components` is {components}; choose 1, or `mode` one-shot: in rounds a client would train and send a mask for each"
        )
    })
}

fn a_mixture_has_masks(s: &Settings) -> Option<String> {
    let components = s.model.components;
    (components > 1 && s.training.training_mask == TrainingMask::Dense).then(|| {
        format!("`components` is {components}; choose 1 with `training-mask` dense, whose weights have no artifact")
    })
}

fn latents_divide_into_subclasses(s: &Settings) -> Option<String> {
    let (latent, subclasses) = (s.model.latent, s.training.subclasses);
    let bits = Subclasses::new(subclasses).map_or(0, Subclasses::bits);
    (latent < bits).then(|| {
        format!("`latent` is {latent}; choose at least {bits} for `subclasses` {subclasses}, or fewer `subclasses`")
    })
}

fn subclasses_come_from_images(s: &Settings) -> Option<String> {
    let subclasses = s.training.subclasses;
    (subclasses > 1 && s.noisy(Mechanism::Mask)).then(|| {
        format!(
            "`subclasses` is {subclasses}, and where a class divides follows from images, which `mechanism` mask does not protect; \
             choose `subclasses` 1, or `mechanism` moments"
        )
    })
}

/// Noise is averaged out by how many features there are, and sketches are few.
fn sketches_do_not_bear_noise(s: &Settings) -> Option<String> {
    (s.training.objective == Objective::MomentsSketches && s.noisy(Mechanism::Moments)).then(|| {
        "`objective` is moments-sketches, and noisy sketches make images alike; choose moments, moments-biased or mean-squares \
         with `epsilon`"
            .to_string()
    })
}

fn mean_squares_are_for_noise(s: &Settings) -> Option<String> {
    (s.training.objective == Objective::MeanSquares && !s.noisy(Mechanism::Moments)).then(|| {
        "`objective` is mean-squares, which is for noisy moments; choose moments, or give `epsilon` with `mechanism` moments"
            .to_string()
    })
}

fn dense_weights_cross_as_numbers(s: &Settings) -> Option<String> {
    let as_numbers = s.wire.alpha >= 1.0 && s.wire.codec == UpdateCodec::Raw && !s.noisy(Mechanism::Mask);
    (s.training.training_mask == TrainingMask::Dense && !s.one_shot() && !as_numbers).then(|| {
        "`training-mask` dense has no masks to send or to protect: choose `alpha` 1 and `codec` raw without `mechanism` mask, \
         which is FedAvg of dense weights, or `mode` one-shot"
            .to_string()
    })
}

fn privacy_needs_a_public_encoder(s: &Settings) -> Option<String> {
    let encoder = &s.training.encoder;
    (without_prefixes(encoder).starts_with("file:") && s.privacy.epsilon.is_some()).then(|| {
        format!(
            "`encoder` is {encoder}, and `epsilon` protects nothing where it was trained on clients' images; write {} if all images \
             that it was trained on are public",
            encoder.replacen("file:", "public:", 1)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl Fn(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        let error = settings.validate().expect_err("contradicting settings are refused");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    fn accepted(change: impl Fn(&mut Settings)) {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.validate().unwrap();
    }

    fn private(s: &mut Settings, mechanism: Mechanism) {
        (s.privacy.epsilon, s.privacy.mechanism) = (Some(1.0), mechanism);
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        assert!(refusal(|s| s.federation.clients = 0).contains("`clients` is 0; choose 1"));
        assert!(refusal(|s| s.wire.alpha = f64::NAN).contains("`alpha` is NaN"));
        assert!(refusal(|s| s.model.image_size = 33).contains("power of two"));
        assert!(refusal(|s| s.training.subclasses = 3).contains("`subclasses` is 3; choose 1, 2, 4, 8 or 16"));
        assert!(refusal(|s| (s.model.image_size, s.model.ngf) = (256, 512)).contains("weights"));
        accepted(|_| ());
    }

    #[test]
    fn one_shot_is_not_asked_for_codecs_or_noise_on_masks() {
        let one_shot = |s: &mut Settings| s.federation.mode = TrainingMode::OneShot;
        for codec in [UpdateCodec::Raw, UpdateCodec::Mrc, UpdateCodec::Sums] {
            let why = refusal(|s| {
                one_shot(s);
                s.wire.codec = codec;
            });
            assert!(why.contains(&format!("`codec` {codec}")) && why.contains("`mode` one-shot"), "{why}");
        }
        let why = refusal(|s| {
            one_shot(s);
            private(s, Mechanism::Mask);
        });
        assert!(why.contains("`mechanism` mask"), "{why}");
        accepted(one_shot);
    }

    #[test]
    fn answers_of_a_round_are_counted() {
        for codec in [UpdateCodec::Flips, UpdateCodec::Mrc, UpdateCodec::Sums] {
            let why = refusal(|s| (s.federation.clients, s.wire.codec) = (4096, codec));
            assert!(why.contains("4096 clients are asked") && why.contains("4095 at most"), "{why}");
        }
        accepted(|s| (s.federation.clients, s.wire.codec) = (4096, UpdateCodec::Raw));
        accepted(|s| (s.federation.clients, s.federation.fraction) = (4096, 0.5));
        let why = refusal(|s| (s.wire.codec, s.wire.alpha) = (UpdateCodec::Sums, 0.5));
        assert!(why.contains("choose `alpha` 0"), "{why}");
        let why = refusal(|s| (s.wire.codec, s.federation.fraction) = (UpdateCodec::Sums, 0.1));
        assert!(why.contains("its very mask"), "{why}");
    }

    #[test]
    fn mixtures_subclasses_and_dense_weights_need_what_they_stand_on() {
        assert!(refusal(|s| s.model.components = 2).contains("`mode` one-shot"));
        let mixture = |s: &mut Settings| (s.federation.mode, s.model.components) = (TrainingMode::OneShot, 2);
        accepted(mixture);
        let why = refusal(|s| {
            mixture(s);
            s.training.training_mask = TrainingMask::Dense;
        });
        assert!(why.contains("no artifact"), "{why}");
        assert!(refusal(|s| (s.model.latent, s.training.subclasses) = (3, 16)).contains("`latent` is 3"));
        let fedavg = |s: &mut Settings| {
            s.training.training_mask = TrainingMask::Dense;
            (s.wire.codec, s.wire.alpha) = (UpdateCodec::Raw, 1.0);
        };
        accepted(fedavg);
        for (codec, alpha) in [(UpdateCodec::Raw, 0.5), (UpdateCodec::Mrc, 1.0)] {
            let why = refusal(|s| {
                fedavg(s);
                (s.wire.codec, s.wire.alpha) = (codec, alpha);
            });
            assert!(why.contains("FedAvg"), "{why}");
        }
        accepted(|s| (s.federation.mode, s.training.training_mask) = (TrainingMode::OneShot, TrainingMask::Dense));
    }

    #[test]
    fn objectives_go_with_noise_or_without() {
        let objective = |s: &mut Settings, objective| s.training.objective = objective;
        assert!(refusal(|s| objective(s, Objective::MeanSquares)).contains("give `epsilon`"));
        accepted(|s| objective(s, Objective::MomentsSketches));
        let noisy = |o| {
            move |s: &mut Settings| {
                private(s, Mechanism::Moments);
                objective(s, o);
            }
        };
        assert!(refusal(noisy(Objective::MomentsSketches)).contains("noisy sketches"));
        accepted(noisy(Objective::MeanSquares));
        accepted(noisy(Objective::MomentsBiased));
        let why = refusal(|s| {
            private(s, Mechanism::Mask);
            s.training.subclasses = 2;
        });
        assert!(why.contains("choose `subclasses` 1"), "{why}");
        assert!(refusal(|s| s.privacy.delta = 1e-6).contains("no noise would be added"));
        let encoder = |name: &'static str| {
            move |s: &mut Settings| {
                private(s, Mechanism::Moments);
                s.training.encoder = name.into();
            }
        };
        assert!(refusal(encoder("file:a/b")).contains("write public:a/b if"));
        assert!(refusal(encoder("pixels+file:a/b")).contains("write pixels+public:a/b if"));
        assert!(refusal(encoder("bf16+pixels+file:a/b")).contains("write bf16+pixels+public:a/b if"));
        accepted(encoder("public:a/b"));
        accepted(|s| s.training.encoder = "file:a/b".into());
    }
}
