//! Before the first round: what protects the run's images is planned, claimed, recorded, and drawn or found again.

use prism_nn::generator::Styles;
use prism_nn::{Error, Result};

use super::client_files::MomentsKey;
use super::progress::Progress;
use super::{RunFolder, interrupt};
use crate::federation::{MomentPrivacy, Regime};
use crate::groups::Groups;
use crate::moments::plain;
use crate::privacy::masks::MaskNoise;
use crate::privacy::protect::record;
use crate::privacy::settings::Mechanism;
use crate::privacy::{Claim, Holders, Places, Protection, Released, claim};
use crate::settings::Settings;

/// What protects a run's images: one mechanism, or none.
pub enum PrivacyPlan {
    /// Nothing does.
    None,
    /// Noise on moments.
    Moments(Box<Protection>),
    /// Noise on masks.
    Masks(MaskNoise, Box<Claim>),
}

/// What the federation gets of it.
pub struct Protected {
    /// Where clients' moments come from.
    pub moments: MomentPrivacy,
    /// Which images' moments are matched together.
    pub groups: Groups,
    /// Noise on every answer, if that is the mechanism.
    pub mask_noise: Option<MaskNoise>,
    /// Bytes that clients sent for it before the first round.
    pub uplink_bytes: u64,
}

impl PrivacyPlan {
    /// Plans the noise and checks everything that can be checked before an image is read.
    ///
    /// # Errors
    /// If a setting is outside its limits, or a client is too small for the budget.
    pub fn new(settings: &Settings, holders: &Holders<'_>) -> Result<Self> {
        let Some(budget) = settings.privacy.budget()? else { return Ok(PrivacyPlan::None) };
        match (settings.privacy.dp_mechanism, settings.federation) {
            (Mechanism::Moments, _) => Ok(PrivacyPlan::Moments(Box::new(Protection::plan(
                &settings.privacy,
                budget,
                Styles::new(settings.styles)?,
                holders,
            )?))),
            (Mechanism::Mask, Regime::Rounds) => {
                let (noise, claim) = MaskNoise::plan(&settings.privacy, budget, (settings.clients, settings.rounds))?;
                Ok(PrivacyPlan::Masks(noise, Box::new(claim)))
            }
            (Mechanism::Mask, Regime::OneShot) => Err(Error::usage(
                "--dp-mechanism mask protects masks, and --federation one-shot sends none; leave out one of the two",
            )),
        }
    }

    /// Whether anything protects the images.
    pub fn protects(&self) -> bool {
        self.claim().is_some()
    }

    fn claim(&self) -> Option<&Claim> {
        match self {
            PrivacyPlan::None => None,
            PrivacyPlan::Moments(protection) => Some(protection.claim()),
            PrivacyPlan::Masks(_, claim) => Some(claim),
        }
    }

    /// What the moments that all train on are kept under; none where each client has its own.
    ///
    /// # Errors
    /// If the settings name no styles that there are.
    pub fn moments_key(&self, settings: &Settings, holders: &Holders<'_>) -> Result<Option<MomentsKey>> {
        Ok(match self {
            PrivacyPlan::Moments(protection) => protection.moments_key(holders, settings.federation),
            PrivacyPlan::None if settings.federation == Regime::OneShot => {
                Some(plain::key(holders, &exact_groups(settings, holders)?))
            }
            PrivacyPlan::None | PrivacyPlan::Masks(..) => None,
        })
    }

    /// What the run may say of its privacy.
    pub fn statement(&self) -> String {
        self.claim().map_or_else(|| claim::NONE.to_string(), Claim::sentence)
    }

    /// Saves the claim, writes the ledger, and draws what has not been drawn.
    ///
    /// # Errors
    /// If a file cannot be written or is foreign, nothing stands out of the noise, or the run is asked to stop.
    pub fn carry_out(
        self,
        settings: &Settings,
        holders: &Holders<'_>,
        folder: &RunFolder,
        progress: &Progress,
    ) -> Result<Protected> {
        // Asked now, since a draw that is in the ledger is spent.
        interrupt::check()?;
        if let Some(claim) = self.claim() {
            claim.save(&folder.privacy())?;
        }
        let say = |text| progress.say(text);
        let exact = || exact_groups(settings, holders);
        match self {
            PrivacyPlan::None if settings.federation == Regime::OneShot => {
                let groups = exact()?;
                let moments = plain::gather(holders, &groups, &folder.shared(), &say)?;
                Ok(Protected {
                    uplink_bytes: moments.sent(),
                    moments: MomentPrivacy::Shared(Box::new(moments)),
                    groups,
                    mask_noise: None,
                })
            }
            PrivacyPlan::None => {
                Ok(Protected { moments: MomentPrivacy::None, groups: exact()?, mask_noise: None, uplink_bytes: 0 })
            }
            PrivacyPlan::Moments(protection) => {
                let places = Places {
                    run: folder.path().to_path_buf(),
                    clients: (0..settings.clients).map(|client| folder.client(client)).collect(),
                    shared: folder.shared(),
                };
                let Released { moments: shared, groups, uplink_bytes } =
                    protection.protect(holders, &places, settings.federation, &say)?;
                let released = || MomentPrivacy::Released(protection.fingerprint().to_string());
                let moments = shared.map_or_else(released, |moments| MomentPrivacy::Shared(Box::new(moments)));
                Ok(Protected { moments, groups, mask_noise: None, uplink_bytes })
            }
            PrivacyPlan::Masks(noise, claim) => {
                // A resumed run may repeat the round that was interrupted, so it counts as another draw.
                let what = settings.privacy.dp_mechanism.to_string();
                record(&settings.privacy, &claim, (holders.data.digest(), &what), folder.path(), &say)?;
                Ok(Protected {
                    moments: MomentPrivacy::None,
                    groups: exact()?,
                    mask_noise: Some(noise),
                    uplink_bytes: 0,
                })
            }
        }
    }
}

/// Which images are summed up together where nothing is noised.
fn exact_groups(settings: &Settings, holders: &Holders<'_>) -> Result<Groups> {
    Ok(Groups::new(holders.data, holders.conditional, Styles::new(settings.styles)?))
}
