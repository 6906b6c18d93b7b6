//! Every workload runs, once and small; names are those of the bench page.

use hardpan_bench::{Record, Scale, Settings, run, workloads};
use std::collections::HashSet;

/// The bench page, whose names scripts rely on.
const NAMES: &str = "
matmul_64 matmul_256 matmul_1024 matmul_2048 matmul_64x784x50 matmul_512x784x512 matmul_4096x384x1536
conv_b64_1x28_8_k5s2_fwd conv_b64_1x28_8_k5s2_fwdbwd conv_b32_64x32_64_k3_fwd conv_b32_64x32_64_k3_fwdbwd
conv_b32_256x8_256_k3_fwd conv_b32_256x8_256_k3_fwdbwd
gelu_chain_16M gelu_chain_16M_fwdbwd copy_16M clone_16M sum_16M add_16M add_out_16M exp_16M sum_dim0_4096x4096
transpose_4096 randn_16M dropout_16M embedding_16k_rows_384 softmax_4096x1024_fwd layernorm_4096x1024_fwd
softmax_4096x1024_fwdbwd layernorm_4096x1024_fwdbwd cross_entropy_4096x1024_fwdbwd
op_overhead_add op_overhead_mul_fwdbwd op_overhead_linear10_module op_overhead_mm8
mlp_50_b64 mlp_50_b512 mlp_50_infer_b1 mlp_512_b64 mlp_512_b512 mlp_512_infer_b1
cnn_b64 cnn_b512 cnn_infer_b1 cnn_infer_b64
xresnet18_64px_b32_train xresnet18_128px_b32_train resnet50_64px_b32_train resnet50_128px_b32_train
xresnet18_64px_b32_infer xresnet18_64px_b1_infer xresnet18_128px_b32_infer xresnet18_128px_b1_infer
resnet50_64px_b32_infer resnet50_64px_b1_infer resnet50_128px_b32_infer resnet50_128px_b1_infer
awdlstm_b32_t70 awdlstm_generate_b1 gpt_6x384_b16_t256 gpt_generate_b1 gpt_generate_b16 seq2seq_256x3x3_b64_t40
tabular_b64 tabular_b1024 collab_b64 collab_b512
jpeg_decode_500x375 resize_to_256 imgload_224_b32
first_step_cnn_b64 rss_mlp_50_b64 rss_mlp_512_b512 rss_cnn_b64 rss_cnn_b512 rss_xresnet18_128px_b32
rss_resnet50_128px_b32 rss_gpt_6x384_b16_t256";

#[test]
fn names_are_those_of_the_page_and_unique() {
    let have: Vec<&str> = workloads().iter().map(|w| w.name.as_str()).collect();
    assert_eq!(have, NAMES.split_whitespace().collect::<Vec<_>>());
    assert_eq!(have.iter().collect::<HashSet<_>>().len(), have.len());
    assert!(workloads().iter().all(|w| !w.about.is_empty() && !w.group.is_empty()));
}

/// Groups apart, so that they run beside each other.
fn runs(groups: &[&str]) {
    for w in workloads().iter().filter(|w| groups.contains(&w.group)) {
        let mut records = Vec::new();
        run(w, &Settings::tiny(), &mut |r| records.push(r));
        // What needs a process of its own gives no value in this one.
        assert_eq!(records.is_empty(), w.group == "process", "{}", w.name);
        for r in records {
            assert_eq!((r.workload.as_str(), r.system.as_str()), (w.name.as_str(), "hardpan"));
            // All three are rounded, to different numbers of digits.
            assert!(r.value > 0.0 && r.min <= r.value * 1.01 && r.value <= r.max * 1.01, "{r:?}");
            let line = serde_json::to_string(&r).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), r);
        }
    }
}

#[test]
fn kernels_run() {
    runs(&["matmul", "conv", "memory-bound", "overhead"]);
}

#[test]
fn image_networks_run() {
    runs(&["mlp", "cnn", "residual"]);
}

#[test]
fn language_and_tables_run() {
    runs(&["language", "tables"]);
}

#[test]
fn images_and_processes_run() {
    runs(&["images", "process"]);
}

#[test]
fn variants_are_chosen_by_words() {
    let w = workloads().iter().find(|w| w.name == "mlp_50_b64").unwrap();
    let mut seen = Vec::new();
    let settings = Settings { words: vec!["adam".into(), "f32".into()], ..Settings::tiny() };
    assert_eq!(settings.scale, Scale::Tiny);
    run(w, &settings, &mut |r| seen.push(r.variant));
    assert_eq!(seen, ["f32+adam"]);
}
