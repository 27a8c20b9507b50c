//! The C interface, called as C would: what it draws, and what it refuses.

use std::ffi::{CStr, CString};
use std::ptr::{null, null_mut};

use prism::*;

const DIGITS: &[u8] = include_bytes!("../../../models/mnist-rounds.safetensors.zst");

fn sentence() -> String {
    // SAFETY: no other call is made on this thread before it is copied.
    unsafe { CStr::from_ptr(prism_last_error()) }.to_str().unwrap().to_owned()
}

fn open(bytes: &[u8]) -> (PrismStatus, *mut PrismModel) {
    let mut model = null_mut();
    // SAFETY: a slice and a place.
    let status = unsafe { prism_model_open(bytes.as_ptr(), bytes.len(), &mut model) };
    (status, model)
}

fn request() -> PrismRequest {
    PrismRequest { seed: 0, first: 0, count: 2, label: null(), precision: PRISM_I16, threads: 1 }
}

#[test]
fn images_do_not_depend_on_where_the_range_begins_and_room_beyond_them_stays_untouched() {
    let (status, model) = open(DIGITS);
    assert_eq!(status, PrismStatus::Ok);
    let (mut shape, mut all, mut last) = (PrismShape::default(), vec![7; 3 * 1024], vec![0; 1024]);
    // SAFETY: a handle and buffers of the length given.
    unsafe {
        assert_eq!(prism_model_shape(model, &mut shape), PrismStatus::Ok);
        assert_eq!(prism_model_sample(model, &request(), all.as_mut_ptr(), all.len()), PrismStatus::Ok);
        let second = PrismRequest { first: 1, count: 1, ..request() };
        assert_eq!(prism_model_sample(model, &second, last.as_mut_ptr(), last.len()), PrismStatus::Ok);
        assert!(CStr::from_ptr(prism_model_info(model)).to_str().unwrap().contains("\"privacy\":"));
        prism_model_free(model);
    }
    assert_eq!(shape, PrismShape { size: 32, channels: 1, classes: 10, bytes: 1024 });
    assert_eq!(all[1024..2048], last);
    assert!(all[2048..].iter().all(|&byte| byte == 7) && last.iter().any(|&byte| byte > 128));
}

#[test]
fn every_wrong_argument_is_refused_with_a_sentence() {
    let (_, model) = open(DIGITS);
    let mut pixels = vec![7; 2048];
    let absent = CString::new("eleven").unwrap();
    let no_text = CString::new([0xff]).unwrap();
    let wrong = [
        (PrismRequest { label: absent.as_ptr(), ..request() }, "label eleven does not exist"),
        (PrismRequest { label: no_text.as_ptr(), ..request() }, "label is no UTF-8"),
        (PrismRequest { precision: 9, ..request() }, "precision is 9"),
        (PrismRequest { count: 3, ..request() }, "room for 2048 bytes and the images have 3072"),
        (PrismRequest { count: usize::MAX, ..request() }, "beyond all memory"),
        (PrismRequest { first: u64::MAX, ..request() }, "first is 18446744073709551615"),
    ];
    for (request, words) in wrong {
        // SAFETY: a handle, a request and a buffer of the length given.
        let status = unsafe { prism_model_sample(model, &request, pixels.as_mut_ptr(), pixels.len()) };
        assert_eq!(status, PrismStatus::Usage, "{request:?}");
        assert!(sentence().contains(words), "{words}: {}", sentence());
    }
    assert!(pixels.iter().all(|&byte| byte == 7), "a call that fails writes nothing");
    // SAFETY: NULL is allowed everywhere.
    unsafe {
        let into = (pixels.as_mut_ptr(), pixels.len());
        assert_eq!(prism_model_sample(null(), &request(), into.0, into.1), PrismStatus::Usage);
        assert_eq!(prism_model_sample(model, null(), into.0, into.1), PrismStatus::Usage);
        assert_eq!(prism_model_sample(model, &request(), null_mut(), 0), PrismStatus::Usage);
        assert_eq!(prism_model_shape(model, null_mut()), PrismStatus::Usage);
        assert_eq!(prism_model_open(null(), 0, &mut null_mut()), PrismStatus::Usage);
        assert_eq!(prism_model_open(DIGITS.as_ptr(), DIGITS.len(), null_mut()), PrismStatus::Usage);
        assert_eq!(prism_model_open_file(null(), &mut null_mut()), PrismStatus::Usage);
        assert_eq!(prism_model_open_file(c"nowhere".as_ptr(), &mut null_mut()), PrismStatus::Usage);
        assert!(sentence().contains("cannot read nowhere"), "{}", sentence());
        assert!(prism_model_info(null()).is_null());
        prism_model_free(null_mut());
        prism_model_free(model);
    }
}

#[test]
fn altered_files_are_refused_and_leave_no_handle() {
    for at in (0..DIGITS.len()).step_by(997) {
        let mut altered = DIGITS.to_vec();
        altered[at] ^= 0x10;
        for bytes in [&altered[..], &DIGITS[..at]] {
            let (status, model) = open(bytes);
            assert_eq!(status, PrismStatus::Failure, "byte {at}");
            assert!(model.is_null() && sentence().contains("cannot be used"), "{}", sentence());
        }
    }
}

#[test]
fn threads_share_a_model_and_have_sentences_of_their_own() {
    let (_, model) = open(DIGITS);
    let address = model as usize;
    let draw = move |seed| {
        let mut pixels = vec![0; 2048];
        let request = PrismRequest { seed, ..request() };
        // SAFETY: the model is freed after all threads have ended.
        let status =
            unsafe { prism_model_sample(address as *const PrismModel, &request, pixels.as_mut_ptr(), pixels.len()) };
        assert_eq!((status, sentence().as_str()), (PrismStatus::Ok, ""));
        pixels
    };
    assert_eq!(open(b"nothing").0, PrismStatus::Failure);
    let threads: Vec<_> = (0..4).map(|k| std::thread::spawn(move || draw(k % 2))).collect();
    let drawn: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(drawn[0] == drawn[2] && drawn[1] == drawn[3] && drawn[0] != drawn[1]);
    assert!(!sentence().is_empty());
    // SAFETY: the only handle, and nobody uses it any more.
    unsafe { prism_model_free(model) };
}
