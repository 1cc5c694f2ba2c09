//! Whom we trust where we are the client: this machine's certificate authorities, or those of a file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

use crate::permissions::open_believed;

/// What TLS towards a server needs, read anew. `option` names `ca_file` in sentences, as `[network.hub] ca_file`.
///
/// # Errors
/// If there is no certificate authority to trust; the text says what to do.
pub(super) fn client_config(ca_file: Option<&Path>, option: &str) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let names = || format!("{option} names {}", path.display());
            let file = open_believed(path).map_err(|why| anyhow::anyhow!("{}, {why}", names()))?;
            read_authorities(file, &mut roots)
                .with_context(|| format!("{}, which holds no certificate in PEM form", names()))?;
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            anyhow::ensure!(
                !roots.is_empty(),
                "this machine trusts no certificate authority: install ca-certificates, or name one with {option}"
            );
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read_authorities(file: File, roots: &mut RootCertStore) -> anyhow::Result<()> {
    for certificate in CertificateDer::pem_reader_iter(file) {
        roots.add(certificate?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "there is none");
    Ok(())
}
