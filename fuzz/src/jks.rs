//! Key stores with anything in them, under a password and without: nothing panics, and no more comes out than lies in
//! the input.

use splashdam_components::tls::list;

/// What the stores among the seeds are opened with.
const PASSWORD: &str = "storePassword";

/// Reads the input as a key store. Without a password its digest is not checked, so all of it is reached.
pub fn store(input: &[u8]) {
    for password in [None, Some(PASSWORD)] {
        let Ok(listed) = list(input, password) else { continue };
        let certificates: usize = listed.iter().map(|entry| entry.certificates).sum();
        assert!(certificates + listed.len() <= input.len());
    }
}
