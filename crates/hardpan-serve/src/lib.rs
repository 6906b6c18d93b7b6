//! A model as an HTTP server: a documented JSON API, and a page where one drops or draws a picture.
