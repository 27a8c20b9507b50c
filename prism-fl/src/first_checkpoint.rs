//! The server's state before the first round.

use prism_core::artifact::{self, MaskRule, Training};
use prism_core::mixture::component_seed;
use prism_core::score::initial_scores;
use prism_export::Checkpoint;
use prism_export::checkpoint::Description;

use crate::context::RunContext;
use crate::settings::TrainingMask;

/// The state before the first round.
pub fn first_checkpoint(context: &RunContext) -> Checkpoint {
    let (arch, encoder) = (context.architecture(), context.encoder());
    let (settings, data) = (&context.agreement().settings, &context.agreement().data);
    let layers = arch.layers();
    let initial = |component| {
        let seed = component_seed(settings.federation.seed, component);
        let layers = layers.iter().enumerate();
        layers.map(move |(index, layer)| initial_scores(seed, index, layer, settings.model.score_scale))
    };
    let scores = (0..settings.model.components).flat_map(initial).collect();
    let training = Training {
        rounds: 0,
        clients: settings.federation.clients,
        local_steps: settings.federation.local_steps,
        partition: data.partition.clone(),
        uplink_bytes: 0,
        downlink_bytes: 0,
        claim: context.privacy_claim(None),
    };
    let model = artifact::Description {
        architecture: arch,
        seed: settings.federation.seed,
        components: settings.model.components,
        encoder: format!("{} sha256:{}", encoder.name(), &encoder.digest()[..16]),
        dataset: data.name.clone(),
        class_names: data.class_names.clone(),
        training,
        mask_rule: MaskRule::Threshold,
        privacy: context.privacy_statement(),
    };
    let client_rounds = vec![0; settings.federation.clients as usize];
    let dense = settings.training.training_mask == TrainingMask::Dense;
    Checkpoint { description: Description { model, client_rounds, dense }, scores }
}
