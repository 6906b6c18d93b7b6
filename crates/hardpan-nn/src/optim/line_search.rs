//! How far to go along a direction: until the strong Wolfe conditions hold.

use hardpan_engine::Tensor;

/// Share of the promised fall that must come true: sufficient decrease.
const C1: f64 = 1e-4;
/// Share of the slope that may be left: curvature.
const C2: f64 = 0.9;
/// Most points to look at.
const MOST: usize = 25;

/// The loss at a place along the direction.
#[derive(Clone)]
pub(super) struct Point {
    /// Length of the step.
    pub at: f64,
    pub value: f64,
    pub grad: Tensor,
    /// Derivative of the loss by `at`.
    pub slope: f64,
}

/// The lowest place of the cubic through two points and their slopes within `low..=high`, or the middle if it has none.
/// Nocedal and Wright, equation 3.59.
fn cubic(a: &Point, b: &Point, low: f64, high: f64) -> f64 {
    let (a, b) = if a.at <= b.at { (a, b) } else { (b, a) };
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.at - b.at);
    let square = d1 * d1 - a.slope * b.slope;
    if square.is_nan() || square < 0.0 {
        return (low + high) / 2.0;
    }
    let d2 = square.sqrt();
    let lowest = b.at - (b.at - a.at) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2));
    lowest.max(low).min(high)
}

/// The point to go to from `start` (at 0), trying `first` first: algorithms 3.5 (find a bracket) and 3.6 (narrow it down). Gives up on
/// brackets that are narrower than `width`, with the lowest point met.
pub(super) fn search(
    start: &Point,
    first: f64,
    width: f64,
    mut look: impl FnMut(f64) -> Point,
) -> Point {
    let enough = |p: &Point| p.value <= start.value + C1 * p.at * start.slope;
    let flat = |p: &Point| p.slope.abs() <= -C2 * start.slope;
    let mut before = start.clone();
    let mut now = look(first);
    let mut looked = 0;
    let mut bracket = loop {
        if looked == MOST {
            break [start.clone(), now];
        }
        if !enough(&now) || (looked > 1 && now.value >= before.value) {
            break [before, now];
        }
        if flat(&now) {
            return now;
        }
        if now.slope >= 0.0 {
            break [before, now];
        }
        // Farther: at least a hundredth of the last stride more, at most ten times as far.
        let (low, high) = (now.at + 0.01 * (now.at - before.at), now.at * 10.0);
        let next = cubic(&before, &now, low, high);
        before = std::mem::replace(&mut now, look(next));
        looked += 1;
    };
    let lower = |b: &[Point; 2]| usize::from(b[0].value > b[1].value);
    let mut stuck = false;
    while looked < MOST {
        let low = lower(&bracket);
        let (left, right) = (bracket[0].at.min(bracket[1].at), bracket[0].at.max(bracket[1].at));
        if right - left < width {
            break;
        }
        let mut at = cubic(&bracket[0], &bracket[1], left, right);
        // A place too near an end teaches little: twice in a row, or right at it, and the place is a tenth away from the end.
        let margin = 0.1 * (right - left);
        if (right - at).min(at - left) < margin {
            if stuck || at >= right || at <= left {
                at = if (at - right).abs() < (at - left).abs() {
                    right - margin
                } else {
                    left + margin
                };
                stuck = false;
            } else {
                stuck = true;
            }
        } else {
            stuck = false;
        }
        let now = look(at);
        looked += 1;
        let other = 1 - low;
        if !enough(&now) || now.value >= bracket[low].value {
            bracket[other] = now;
            continue;
        }
        if flat(&now) {
            return now;
        }
        if now.slope * (bracket[other].at - bracket[low].at) >= 0.0 {
            bracket[other] = bracket[low].clone();
        }
        bracket[low] = now;
    }
    let low = lower(&bracket);
    let [a, b] = bracket;
    if low == 0 { a } else { b }
}
