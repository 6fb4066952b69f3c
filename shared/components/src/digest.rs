//! Digests by name, keyed or not.

use digest::{Digest, DynDigest, ExtendableOutput, Update, XofReader};
use hmac::{Mac, SimpleHmac};

/// The names a setting may use, in the order messages list them.
pub const NAMES: &[&str] = &[
    "md5",
    "sha1",
    "sha224",
    "sha256",
    "sha384",
    "sha512",
    "sha512-224",
    "sha512-256",
    "sha3-224",
    "sha3-256",
    "sha3-384",
    "sha3-512",
    "shake128",
    "shake256",
    "blake2b512",
    "blake2s256",
    "ripemd160",
];

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, broken, for old protocols only.
    Md5,
    /// SHA-1, broken, for old protocols only.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-512/224.
    Sha512_224,
    /// SHA-512/256.
    Sha512_256,
    /// SHA3-224.
    Sha3_224,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
    /// SHA3-512.
    Sha3_512,
    /// SHAKE128 with 16 bytes of output.
    Shake128,
    /// SHAKE256 with 32 bytes of output.
    Shake256,
    /// BLAKE2b with 64 bytes of output.
    Blake2b512,
    /// BLAKE2s with 32 bytes of output.
    Blake2s256,
    /// RIPEMD-160.
    Ripemd160,
}

/// Calls `$run!(Type)` with the hash type of a fixed-length algorithm, or evaluates `$other`.
macro_rules! with_fixed {
    ($algorithm:expr, $run:ident, $other:expr) => {
        match $algorithm {
            Algorithm::Md5 => $run!(md5::Md5),
            Algorithm::Sha1 => $run!(sha1::Sha1),
            Algorithm::Sha224 => $run!(sha2::Sha224),
            Algorithm::Sha256 => $run!(sha2::Sha256),
            Algorithm::Sha384 => $run!(sha2::Sha384),
            Algorithm::Sha512 => $run!(sha2::Sha512),
            Algorithm::Sha512_224 => $run!(sha2::Sha512_224),
            Algorithm::Sha512_256 => $run!(sha2::Sha512_256),
            Algorithm::Sha3_224 => $run!(sha3::Sha3_224),
            Algorithm::Sha3_256 => $run!(sha3::Sha3_256),
            Algorithm::Sha3_384 => $run!(sha3::Sha3_384),
            Algorithm::Sha3_512 => $run!(sha3::Sha3_512),
            Algorithm::Ripemd160 => $run!(ripemd::Ripemd160),
            Algorithm::Blake2b512 => $run!(blake2::Blake2b512),
            Algorithm::Blake2s256 => $run!(blake2::Blake2s256),
            Algorithm::Shake128 | Algorithm::Shake256 => $other,
        }
    };
}

impl Algorithm {
    /// Reads a name; case does not matter, `RSA-` before it and `rmd160` for RIPEMD are understood.
    pub fn parse(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        Some(match lower.strip_prefix("rsa-").unwrap_or(&lower) {
            "md5" => Self::Md5,
            "sha1" | "sha-1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "sha512-224" | "sha512/224" => Self::Sha512_224,
            "sha512-256" | "sha512/256" => Self::Sha512_256,
            "sha3-224" => Self::Sha3_224,
            "sha3-256" => Self::Sha3_256,
            "sha3-384" => Self::Sha3_384,
            "sha3-512" => Self::Sha3_512,
            "shake128" => Self::Shake128,
            "shake256" => Self::Shake256,
            "blake2b512" => Self::Blake2b512,
            "blake2s256" => Self::Blake2s256,
            "ripemd160" | "rmd160" | "ripemd" => Self::Ripemd160,
            _ => return None,
        })
    }

    /// The digest of some bytes.
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        macro_rules! run {
            ($hash:ty) => {
                <$hash as Digest>::digest(data).to_vec()
            };
        }
        with_fixed!(
            self,
            run,
            match self {
                Self::Shake128 => extendable::<sha3::Shake128>(data, 16),
                _ => extendable::<sha3::Shake256>(data, 32),
            }
        )
    }

    /// HMAC; `None` for algorithms without a fixed length.
    pub fn hmac(self, key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        macro_rules! run {
            ($hash:ty) => {{
                // HMAC takes keys of any length, so this never fails.
                let mut mac = SimpleHmac::<$hash>::new_from_slice(key).ok()?;
                Mac::update(&mut mac, data);
                Some(mac.finalize().into_bytes().to_vec())
            }};
        }
        with_fixed!(self, run, None)
    }

    /// The padding of an RSA-PSS signature with this digest; `None` where there is none.
    pub fn pss(self, salt_bytes: usize) -> Option<rsa::Pss> {
        macro_rules! run {
            ($hash:ty) => {
                Some(pss::<$hash>(salt_bytes))
            };
        }
        with_fixed!(self, run, None)
    }

    /// The padding of a PKCS #1 v1.5 signature with this digest; `None` where there is none.
    pub fn pkcs1v15(self) -> Option<rsa::Pkcs1v15Sign> {
        use rsa::Pkcs1v15Sign as Sign;
        Some(match self {
            Self::Md5 => Sign::new::<md5::Md5>(),
            Self::Sha1 => Sign::new::<sha1::Sha1>(),
            Self::Sha224 => Sign::new::<sha2::Sha224>(),
            Self::Sha256 => Sign::new::<sha2::Sha256>(),
            Self::Sha384 => Sign::new::<sha2::Sha384>(),
            Self::Sha512 => Sign::new::<sha2::Sha512>(),
            Self::Sha512_224 => Sign::new::<sha2::Sha512_224>(),
            Self::Sha512_256 => Sign::new::<sha2::Sha512_256>(),
            Self::Sha3_224 => Sign::new::<sha3::Sha3_224>(),
            Self::Sha3_256 => Sign::new::<sha3::Sha3_256>(),
            Self::Sha3_384 => Sign::new::<sha3::Sha3_384>(),
            Self::Sha3_512 => Sign::new::<sha3::Sha3_512>(),
            Self::Ripemd160 => Sign::new::<ripemd::Ripemd160>(),
            Self::Shake128 | Self::Shake256 | Self::Blake2b512 | Self::Blake2s256 => return None,
        })
    }
}

fn pss<D: Digest + DynDigest + Send + Sync + 'static>(salt_bytes: usize) -> rsa::Pss {
    rsa::Pss::new_blinded_with_salt::<D>(salt_bytes)
}

fn extendable<D: Default + Update + ExtendableOutput>(data: &[u8], length: usize) -> Vec<u8> {
    let mut hash = D::default();
    hash.update(data);
    let mut out = vec![0; length];
    hash.finalize_xof().read(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(name: &str, data: &str) -> String {
        hex::encode(Algorithm::parse(name).unwrap().digest(data.as_bytes()))
    }

    #[test]
    fn known_digests() {
        assert_eq!(hex("md5", "Hello World"), "b10a8db164e0754105b7a99be72e3fe5");
        assert_eq!(hex("sha1", "Hello World"), "0a4d55a8d778e5022fab701977c5d840bbc486d0");
        assert_eq!(
            hex("SHA256", "Hello World"),
            "a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e"
        );
        assert_eq!(
            hex("blake2s256", "Hello World"),
            "7706af019148849e516f95ba630307a2018bb7bf03803eca5ed7ed2c3c013513"
        );
        assert_eq!(hex("shake128", "x"), "e472c5e394f30ff8d5d33803f9593e63");
        assert_eq!(hex("shake256", "x"), "c851121abe8095973c9bdc1b446089f3249cf74e0b64660b61d73bcae0350f4d");
        assert_eq!(hex("ripemd160", "abc"), "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc");
    }

    #[test]
    fn every_listed_name_is_known() {
        for name in NAMES {
            assert!(Algorithm::parse(name).is_some(), "{name}");
        }
        assert_eq!(Algorithm::parse("RSA-SHA256"), Some(Algorithm::Sha256));
        assert_eq!(Algorithm::parse("nope"), None);
    }

    #[test]
    fn hmac_needs_a_digest_of_fixed_length() {
        let mac = Algorithm::Sha256.hmac(b"secret", br#"{"test":"data to sign"}"#).unwrap();
        assert_eq!(hex::encode(mac), "fcc27c97c7e4ea886434ae9ab61cd28395a1847db260f375e6429c454b69e9db");
        assert_eq!(Algorithm::Shake128.hmac(b"k", b"d"), None);
    }
}
