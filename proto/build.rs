//! Compiles the contract with protox, so that no system `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "proto";
    let file = "proto/lakebase/control/v1/control.proto";
    println!("cargo:rerun-if-changed={file}");
    let descriptors = protox::compile([file], [root])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("control.bin"),
        protox::prost::Message::encode_to_vec(&descriptors),
    )?;
    tonic_prost_build::configure()
        .build_transport(false)
        // Holds a password: its `Debug` is written by hand, without it.
        .skip_debug(["lakebase.control.v1.Credential"])
        .compile_fds(descriptors)?;
    Ok(())
}
