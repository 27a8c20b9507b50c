//! The one message of a client in a one-shot federation without protection: its groups' moments, in as many bytes as it
//! may have.
//!
//! ```text
//! quality u8, number of groups u32, then for each its number u32 and its images u32,
//! then for each encoder layer its unit f32, the length of its code u32 and the code
//! ```
//!
//! Under the header of [`super::envelope`]; the codes are those of [`super::coded`]. Numbers are little-endian. The client
//! takes the finest quality that fits the message's size. The server adds up what the moments were made of, so that a
//! group's moments are those of all clients' images.

use prism_core::Error;
use prism_nn::Result;
use rayon::prelude::*;

use super::coded::layer::{self, LayerCoefficients, LayerShape};
use super::coded::tree::GroupTree;
use super::envelope::{self, Kind};
use super::statistics::{GroupStatistics, Statistics};

/// What errors call a message.
const SUBJECT: &str = "a message of moments";
/// The finest quality: a quarter of a standard error of the widest layer.
const FINEST: u8 = 16;
/// The coarsest quality that is tried: 4,096 standard errors.
const COARSEST: u8 = 128;

/// What both sides know of a message.
#[derive(Clone, Debug)]
pub struct Form {
    /// One more than the greatest number of a group.
    pub groups: usize,
    /// Subclasses of a class.
    pub subclasses: u32,
    /// The encoder's layers.
    pub layers: Vec<LayerShape>,
}

impl Form {
    /// The message that carries `statistics` in at most `most` bytes.
    ///
    /// # Errors
    /// [`Error::Usage`] if features are not finite, or nothing worth sending fits.
    pub fn encode(&self, mut statistics: GroupStatistics, most: u64) -> Result<Vec<u8>> {
        let images = |layers: &[Statistics]| layers.first().map_or(0, |layer| layer.count as u32);
        let groups: Vec<(u32, u32)> = statistics.iter().map(|(&group, layers)| (group, images(layers))).collect();
        let tree = GroupTree::new(&groups, self.subclasses);
        // A layer at a time, so that no number stands in memory twice.
        let layers = self.layers.iter().enumerate().map(|(at, &shape)| {
            let take = |layers: &mut Vec<Statistics>| std::mem::take(&mut layers[at]);
            let own: Vec<Statistics> = statistics.values_mut().map(take).collect();
            LayerCoefficients::new(&own, shape, &tree)
        });
        let layers: Vec<LayerCoefficients> = layers.collect();
        if !layers.iter().all(|layer| layer.unit.is_finite()) {
            return Err(Error::usage(
                "the features of some images are no finite numbers, so there is nothing to send; choose another `encoder`",
            )
            .into());
        }
        let message = |quality: u8| -> Option<Vec<u8>> {
            let codes: Option<Vec<Vec<u8>>> = layers.par_iter().map(|layer| layer.encode(&tree, quality)).collect();
            let bytes = self.assemble(quality, (&groups, &layers), &codes?);
            (bytes.len() as u64 <= most).then_some(bytes)
        };
        // Sizes fall with the quality, so halving finds the finest that fits.
        let (mut too_large, mut fits, mut best) = (FINEST - 1, COARSEST + 1, None);
        while too_large + 1 < fits {
            let middle = too_large + (fits - too_large) / 2;
            match message(middle) {
                Some(bytes) => (fits, best) = (middle, Some(bytes)),
                None => too_large = middle,
            }
        }
        best.ok_or_else(|| {
            let least = self.assemble(COARSEST, (&groups, &layers), &[]).len();
            let groups = groups.len();
            Error::usage(format!(
                "`message-size` is {most} bytes, and the moments of {groups} groups take more than {least}; choose a larger one"
            ))
            .into()
        })
    }

    fn assemble(
        &self,
        quality: u8,
        (groups, layers): (&[(u32, u32)], &[LayerCoefficients]),
        codes: &[Vec<u8>],
    ) -> Vec<u8> {
        let mut bytes = vec![quality];
        bytes.extend((groups.len() as u32).to_le_bytes());
        for (group, images) in groups {
            bytes.extend(group.to_le_bytes());
            bytes.extend(images.to_le_bytes());
        }
        for (layer, code) in layers.iter().zip(codes) {
            let code: &[u8] = if layer.unit == 0.0 { &[] } else { code };
            bytes.extend(layer.unit.to_le_bytes());
            bytes.extend((code.len() as u32).to_le_bytes());
            bytes.extend(code);
        }
        envelope::seal(Kind::Moments, &bytes)
    }

    /// The message in `bytes`, whose layers are decoded when they are asked for.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not one of this form, as far as that shows without decoding.
    pub fn open<'a>(&'a self, bytes: &'a [u8]) -> Result<Message<'a>> {
        let refuse = |why: String| Error::corrupt(SUBJECT, why);
        let mut rest = Reader(envelope::open(Kind::Moments, bytes)?);
        let (quality, groups) = self.read_groups(&mut rest).map_err(refuse)?;
        let tree = GroupTree::new(&groups, self.subclasses);
        let mut codes = Vec::new();
        for _ in &self.layers {
            let unit = rest.number().map(f32::from_bits).filter(|unit| *unit >= 0.0 && unit.is_finite());
            let length = rest.number();
            let code = length.and_then(|length| rest.take(length as usize));
            let (Some(unit), Some(code)) = (unit, code) else {
                return Err(refuse("a layer is cut short or has no unit".into()).into());
            };
            codes.push((unit, code));
        }
        if !rest.0.is_empty() {
            return Err(refuse(format!("{} bytes follow its last layer", rest.0.len())).into());
        }
        Ok(Message { form: self, quality, groups, tree, codes })
    }

    /// What was in the message `bytes`; variances are as rounding left them, some below 0.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the message is not one of this form.
    pub fn decode(&self, bytes: &[u8]) -> Result<GroupStatistics> {
        let message = self.open(bytes)?;
        let mut found: GroupStatistics = message.groups.iter().map(|&(group, _)| (group, Vec::new())).collect();
        for layer in 0..self.layers.len() {
            found.values_mut().zip(message.layer(layer)?).for_each(|(layers, layer)| layers.push(layer));
        }
        Ok(found)
    }

    /// The quality, and the groups with their images.
    fn read_groups(&self, rest: &mut Reader<'_>) -> std::result::Result<(u8, Vec<(u32, u32)>), String> {
        let quality = rest.take(1).map(|byte| byte[0]).ok_or("it is empty")?;
        let count = rest.number().filter(|&count| 0 < count && count as usize <= self.groups);
        let count =
            count.ok_or_else(|| format!("it has no groups, or more than the {} that there are", self.groups))?;
        let mut groups: Vec<(u32, u32)> = Vec::new();
        for _ in 0..count {
            let (Some(group), Some(images)) = (rest.number(), rest.number()) else {
                return Err("its list of groups is cut short".into());
            };
            let ascends = groups.last().is_none_or(|&(last, _)| last < group);
            if !ascends || group as usize >= self.groups || images == 0 {
                return Err(format!(
                    "it has group {group} of {images} images, out of order, of {} groups",
                    self.groups
                ));
            }
            groups.push((group, images));
        }
        Ok((quality, groups))
    }
}

/// A message whose layers are still coded.
pub struct Message<'a> {
    form: &'a Form,
    quality: u8,
    groups: Vec<(u32, u32)>,
    tree: GroupTree,
    codes: Vec<(f32, &'a [u8])>,
}

impl Message<'_> {
    /// The number of each group, ascending, and how many images it has.
    pub fn groups(&self) -> &[(u32, u32)] {
        &self.groups
    }

    /// The statistics of encoder layer number `layer`, of every group; variances are as rounding left them, some below 0.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the layer's code is none.
    pub fn layer(&self, layer: usize) -> Result<Vec<Statistics>> {
        let counts: Vec<f64> = self.groups.iter().map(|&(_, images)| f64::from(images)).collect();
        let ((unit, code), shape) = (self.codes[layer], self.form.layers[layer]);
        let found = layer::decode(code, (unit, self.quality), (shape, &self.tree), &counts);
        Ok(found.map_err(|why| Error::corrupt(SUBJECT, why))?)
    }

    /// Refuses a message of which a layer cannot be decoded.
    ///
    /// # Errors
    /// As for [`Message::layer`].
    pub fn check(&self) -> Result<()> {
        (0..self.codes.len()).into_par_iter().try_for_each(|layer| self.layer(layer).map(drop))
    }
}

/// Bytes that are read from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use prism_core::stream::{Purpose, Stream, StreamId};
    use proptest::prelude::*;

    use super::super::ClientMoments;
    use super::super::combine::combine;
    use super::super::statistics::tests::of;
    use super::*;

    /// Three classes of four subclasses; layers of 3 maps of 8 x 8 and 5 of 2 x 2.
    fn form() -> Form {
        Form { groups: 12, subclasses: 4, layers: LayerShape::all(&[[3, 8, 8], [5, 2, 2]]) }
    }

    /// Statistics of `images` images a group, whose features differ from each other, from group to group and from map to map.
    fn statistics(groups: &[u32], images: usize, seed: u64) -> GroupStatistics {
        let mut stream = StreamId::new(seed, Purpose::Test).open();
        let mut layer = |group: u32, (maps, pixels): (usize, usize)| {
            let level = |feature: usize| f64::from(group % 4) + (feature / pixels) as f64;
            let row = |stream: &mut Stream| (0..maps * pixels).map(|at| level(at) + stream.normal()).collect();
            of(&(0..images).map(|_| row(&mut stream)).collect::<Vec<Vec<f64>>>())
        };
        groups.iter().map(|&g| (g, vec![layer(g, (3, 64)), layer(g, (5, 4))])).collect()
    }

    /// Squared errors of means and variances over what they are of one image, averaged over a layer's features.
    fn error(exact: &GroupStatistics, found: &GroupStatistics) -> f64 {
        let squares = |x: &[f32], y: &[f32]| -> f64 {
            x.iter().zip(y).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / x.len() as f64
        };
        let of_layer = |a: &Statistics, b: &Statistics| squares(&a.mean, &b.mean) + squares(&a.variance, &b.variance);
        exact.values().flatten().zip(found.values().flatten()).map(|(a, b)| of_layer(a, b)).fold(0.0, f64::max)
    }

    const GROUPS: [u32; 7] = [0, 1, 3, 5, 8, 9, 11];

    #[test]
    fn a_large_message_has_every_digit_that_is_worth_something() {
        let exact = statistics(&GROUPS, 50, 1);
        let found = form().decode(&form().encode(exact.clone(), 1 << 30).unwrap()).unwrap();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), GROUPS);
        assert!(found.values().flatten().all(|layer| layer.count == 50.0));
        // A standard error of the means is a 50th in these units.
        let error = error(&exact, &found);
        assert!(error < 0.02 / 50.0, "{error}");
    }

    #[test]
    fn a_message_is_as_large_as_it_may_be_and_the_worse_the_smaller() {
        let exact = statistics(&GROUPS, 50, 1);
        let mut worst = 0.0;
        for most in [1800, 1000, 500, 250] {
            let message = form().encode(exact.clone(), most).unwrap();
            assert!(message.len() as u64 <= most && message.len() as u64 > most / 2, "{} of {most}", message.len());
            let error = error(&exact, &form().decode(&message).unwrap());
            assert!(error > worst, "{error} at {most} bytes, {worst} at more");
            worst = error;
        }
        let error = form().encode(exact.clone(), 100).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("`message-size` is 100 bytes"), "{error}");
    }

    /// Adds what another client measured.
    fn add(total: &mut GroupStatistics, other: GroupStatistics) {
        for (group, layers) in other {
            let all = total.entry(group).or_insert_with(|| vec![Statistics::default(); layers.len()]);
            all.iter_mut().zip(&layers).for_each(|(all, layer)| all.merge(layer));
        }
    }

    #[test]
    fn two_clients_messages_add_up_to_the_moments_of_all_their_images() {
        let (one, two) = (statistics(&GROUPS[..4], 40, 1), statistics(&GROUPS[2..], 60, 2));
        let (mut exact, mut found) = (GroupStatistics::new(), GroupStatistics::new());
        let mut messages = Vec::new();
        for client in [one, two] {
            let message = form().encode(client.clone(), 1 << 30).unwrap();
            add(&mut found, form().decode(&message).unwrap());
            add(&mut exact, client);
            messages.push(message);
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), exact.keys().collect::<Vec<_>>());
        assert!(found.values().flatten().zip(exact.values().flatten()).all(|(a, b)| a.count == b.count));
        let error = error(&exact, &found);
        assert!(error < 1e-3, "{error}");

        // A layer at a time, they are the same to the bit.
        let form = form();
        let messages: Vec<Message<'_>> = messages.iter().map(|bytes| form.open(bytes).unwrap()).collect();
        let combined = combine(&messages, form.layers.len(), &Device::Cpu).unwrap();
        found.values_mut().flatten().for_each(Statistics::clip_variance);
        let whole = ClientMoments::new(found, &Device::Cpu).unwrap();
        assert_eq!(combined.groups(), whole.groups());
        let numbers = |moments: &ClientMoments| -> Vec<Vec<f32>> {
            moments.tensors().map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        assert_eq!(numbers(&combined), numbers(&whole));
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let exact = statistics(&GROUPS, 20, 3);
        let of = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| form().encode(exact.clone(), 1500)).unwrap()
        };
        assert_eq!(of(1), of(3));
    }

    #[test]
    fn a_layer_of_zeros_and_copies_of_one_picture_are_sent() {
        let mut exact = statistics(&GROUPS, 5, 3);
        exact.values_mut().for_each(|layers| {
            layers.iter_mut().for_each(|layer| layer.variance.fill(0.0));
            layers[0].mean.fill(0.0);
            layers[1].mean.fill(3.0);
        });
        let found = form().decode(&form().encode(exact.clone(), 10_000).unwrap()).unwrap();
        assert!(found.values().all(|layers| layers[0].mean.iter().chain(&layers[0].variance).all(|&x| x == 0.0)));
        assert!(found.values().flat_map(|layers| &layers[1].mean).all(|mean| (mean - 3.0).abs() < 0.1));
        exact.values_mut().next().unwrap()[1].mean[0] = f32::NAN;
        let error = form().encode(exact.clone(), 10_000).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("finite"), "{error}");
    }

    #[test]
    fn foreign_messages_are_refused() {
        let good = form().encode(statistics(&GROUPS, 5, 3), 3000).unwrap();
        let payload = envelope::open(Kind::Moments, &good).unwrap().to_vec();
        let refusal = |change: &dyn Fn(&mut Vec<u8>), form: &Form| {
            let mut payload = payload.clone();
            change(&mut payload);
            form.decode(&envelope::seal(Kind::Moments, &payload)).unwrap_err().to_string()
        };
        let keep = |_: &mut Vec<u8>| ();
        assert!(refusal(&keep, &Form { groups: 6, ..form() }).contains("6 that there are"));
        assert!(refusal(&keep, &Form { groups: 9, ..form() }).contains("of 9 groups"));
        assert!(refusal(&keep, &Form { layers: LayerShape::all(&[[3, 8, 8], [6, 2, 2]]), ..form() }).contains("code"));
        assert!(refusal(&keep, &Form { layers: LayerShape::all(&[[3, 8, 8]]), ..form() }).contains("last layer"));
        assert!(refusal(&|bytes| bytes.push(0), &form()).contains("1 bytes follow"));
        assert!(refusal(&|bytes| bytes[1..5].fill(0), &form()).contains("no groups"));
        assert!(refusal(&|bytes| bytes[9..13].fill(0), &form()).contains("of 0 images"));
        assert!(refusal(&|bytes| bytes[13] = 0, &form()).contains("out of order"));
        let unit = 5 + 8 * GROUPS.len();
        assert!(refusal(&|bytes| bytes[unit..][..4].fill(255), &form()).contains("no unit"));
        assert!(refusal(&|bytes| bytes[unit..][..4].fill(0), &form()).contains("nothing but zeros"));
        for length in 0..payload.len() {
            refusal(&|bytes| bytes.truncate(length), &form());
        }
    }

    proptest! {
        #[test]
        fn a_forged_message_is_no_panic(at in 0usize..3000, byte: u8, more in prop::collection::vec(any::<u8>(), 0..8)) {
            let good = form().encode(statistics(&GROUPS, 5, 3), 3000).unwrap();
            let mut payload = envelope::open(Kind::Moments, &good).unwrap().to_vec();
            let at = at % payload.len();
            payload[at] = byte;
            payload.splice(at..at, more);
            if let Ok(found) = form().decode(&envelope::seal(Kind::Moments, &payload)) {
                prop_assert!(found.values().flatten().flat_map(|layer| &layer.variance).all(|x| x.is_finite()));
            }
        }
    }
}
