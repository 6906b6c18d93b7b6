//! [`Model`]: what a server serves.

use serde::Serialize;

/// What answers requests. One for all threads; [`predict`](Model::predict) is called by one thread at a time.
pub trait Model: Send + Sync + 'static {
    /// A request's content, ready for the network.
    type Input: Send + 'static;
    /// What is answered about one input.
    type Output: Serialize + Send + 'static;

    /// What the model is, for `GET /info` and the page.
    fn about(&self) -> About;

    /// Reads a request's content, a picture's file for instance. Called from several threads at once.
    ///
    /// # Errors
    /// What is wrong with it, for the client.
    fn read(&self, bytes: &[u8]) -> Result<Self::Input, String>;

    /// Answers about all of these, in their order; `top` is how many of the likeliest classes are wanted.
    fn predict(&self, inputs: &[Self::Input], top: usize) -> Vec<Self::Output>;

    /// The answer as a PNG picture, for clients that ask for one (`Accept: image/png`): a mask, for instance. `None` if answers of this
    /// model are no pictures.
    fn picture(&self, answer: &Self::Output) -> Option<Vec<u8>> {
        let _ = answer;
        None
    }

    /// A PNG picture, as large as the one sent, that shows what the answer rests on: transparent where it does not matter. `None` if
    /// the model cannot tell.
    fn explain(&self, input: &Self::Input) -> Option<Vec<u8>> {
        let _ = input;
        None
    }
}

/// What a model is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    /// The name of its file.
    pub name: String,
    /// `image`, `segment`, `text`, ...
    pub task: String,
    /// The architecture.
    pub arch: String,
    /// What it tells apart.
    pub classes: Vec<String>,
    /// Colours of the classes, as `#rrggbb`, if answers are masks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub colours: Vec<String>,
    /// What it takes, if pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<InputShape>,
    /// Whether [`Model::explain`] gives something.
    pub explains: bool,
    /// Whether the page should offer to draw: the model knows drawings.
    pub draws: bool,
}

/// The pictures that a model takes, after they have been fitted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct InputShape {
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
}
