//! A captured computation gives the bits of the function itself, whatever its inputs, and refuses what it cannot repeat.

use hardpan_engine::functional::{self as f, ConvOptions};
use hardpan_engine::{CaptureError, Captured, DType, Tensor, manual_seed};
use std::cell::RefCell;

fn bits(t: &Tensor) -> Vec<u32> {
    t.to_vec::<f32>().into_iter().map(f32::to_bits).collect()
}

#[test]
fn it_gives_the_bits_of_the_function() {
    manual_seed(1);
    let (w, b) = (Tensor::randn([8, 3, 3, 3]), Tensor::randn([8]));
    let last = Tensor::randn([8 * 5 * 5, 4]);
    let net = |x: &Tensor| {
        let y = f::conv2d(x, &w, Some(&b), ConvOptions { padding: 1.into(), ..Default::default() });
        let table = Tensor::from_vec((0..200).map(|i| i as f32 / 100.0).collect(), [1, 200]);
        let flat = y.relu().reshape([2, 200]) * table;
        vec![f::softmax(&flat.matmul(&last), -1), flat.sum(1)]
    };
    let captured = Captured::new(&[Tensor::zeros([2, 3, 5, 5])], |x| net(&x[0])).unwrap();
    for _ in 0..3 {
        let x = Tensor::randn([2, 3, 5, 5]).eval().clone();
        let before = bits(&x);
        for (got, want) in captured.run(std::slice::from_ref(&x)).iter().zip(net(&x)) {
            assert_eq!(got.shape(), want.shape());
            assert_eq!(bits(got), bits(&want));
        }
        assert_eq!(bits(&x), before, "inputs stay as they are");
        // A result that nobody has read yet, and a view of one.
        let lazy = &x * 2.0;
        assert_eq!(bits(&captured.run(&[lazy])[0]), bits(&net(&(&x * 2.0))[0]));
    }
}

#[test]
fn outputs_may_be_inputs_parameters_and_nothing() {
    let w = Tensor::from_slice(&[7.0f32], [1]);
    let captured = Captured::new(&[Tensor::ones([2]), Tensor::ones([2])], |x| {
        vec![
            x[1].clone(),
            w.clone(),
            x[0].detach() + &x[1].detach(),
            x[0].narrow(0, 0, 0) * 2.0,
            x[0].detach(),
        ]
    })
    .unwrap();
    let (a, b) =
        (Tensor::from_slice(&[1.0f32, 2.0], [2]), Tensor::from_slice(&[10.0f32, 20.0], [2]));
    let out = captured.run(&[a.clone(), b.clone()]);
    let values: Vec<Vec<f32>> = out.iter().map(|t| t.to_vec()).collect();
    assert_eq!(values, [vec![10.0, 20.0], vec![7.0], vec![11.0, 22.0], vec![], vec![1.0, 2.0]]);
    // The same tensor twice.
    assert_eq!(captured.run(&[b.clone(), b])[2].to_vec::<f32>(), [20.0, 40.0]);
    let same = Captured::new(&[a.clone(), a.clone()], |x| vec![&x[0] - &x[1]]).unwrap();
    assert_eq!(same.run(&[a.clone(), &a * 3.0])[0].to_vec::<f32>(), [-2.0, -4.0]);
    let only = Captured::new(std::slice::from_ref(&a), |x| vec![x[0].clone()]).unwrap();
    assert_eq!(only.run(&[&a * 5.0])[0].to_vec::<f32>(), [5.0, 10.0]);
}

#[test]
fn parameters_are_those_of_the_time() {
    let mut w = Tensor::from_slice(&[2.0f32], [1]);
    let captured = Captured::new(&[Tensor::ones([1])], |x| vec![&x[0] * &w]).unwrap();
    w *= 10.0;
    assert_eq!(captured.run(&[Tensor::ones([1])])[0].item::<f32>(), 2.0);
    assert_eq!(w.item::<f32>(), 20.0);
}

#[test]
fn several_threads_may_run_it() {
    let w = Tensor::randn([64, 64]).eval().clone();
    let captured =
        Captured::new(&[Tensor::zeros([1, 64])], |x| vec![x[0].matmul(&w).tanh()]).unwrap();
    std::thread::scope(|s| {
        for i in 0..4 {
            let (captured, w) = (&captured, &w);
            s.spawn(move || {
                for j in 0..50 {
                    let x = Tensor::full([1, 64], (i * 50 + j) as f32 / 100.0);
                    let want = x.matmul(w).tanh();
                    assert_eq!(bits(&captured.run(&[x])[0]), bits(&want));
                }
            });
        }
    });
}

#[test]
fn what_cannot_be_repeated_is_refused() {
    let x = [Tensor::ones([3])];
    let error = |f: &dyn Fn(&Tensor) -> Tensor| Captured::new(&x, |x| vec![f(&x[0])]).err();
    let read = error(&|x| if x.sum(..).item::<f32>() > 0.0 { x * 2.0 } else { x * 3.0 });
    assert_eq!(read, Some(CaptureError::ReadsAValue));
    assert!(matches!(error(&|x| x + Tensor::rand([3])), Some(CaptureError::Random { .. })));
    let kept = RefCell::new(None);
    let side = error(&|x| {
        let mean = x.mean(..);
        let out = x - &mean;
        *kept.borrow_mut() = Some(mean);
        out
    });
    assert!(matches!(side, Some(CaptureError::SideEffect { .. })), "{side:?}");
    // What it kept can be read all the same: the function saw zeros.
    assert_eq!(kept.take().map(|m| m.item::<f32>()), Some(0.0));
}

#[test]
#[should_panic(
    expected = "Captured::run: input 0 is f32 [2, 3] on DeviceId(0), captured with f32 [1, 3]"
)]
fn another_shape_is_refused() {
    let double = Captured::new(&[Tensor::zeros([1, 3])], |x| vec![&x[0] * 2.0]).unwrap();
    double.run(&[Tensor::zeros([2, 3])]);
}

#[test]
fn other_dtypes() {
    let ids = Tensor::from_slice(&[1i64, 0, 2], [3]);
    let table = Tensor::randn([3, 4]).to_dtype(DType::BF16).eval().clone();
    let look_up = |i: &Tensor| table.index_select(0, i).to_dtype(DType::F32);
    let captured =
        Captured::new(&[Tensor::zeros([3]).to_dtype(DType::I64)], |x| vec![look_up(&x[0])])
            .unwrap();
    assert_eq!(bits(&captured.run(std::slice::from_ref(&ids))[0]), bits(&look_up(&ids)));
}
