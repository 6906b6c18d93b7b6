# One static binary and nothing else.
#
#   docker build -t hardpan .
#   docker run -p 8080:8080 -v "$PWD:/models:ro" hardpan serve /models/model.hardpan --addr 0.0.0.0:8080
#
# The binary is linked with the C library inside, so the image needs no system below it. glibc looks names up with parts of a system
# that are not there: to download data sets in the container, build for musl instead (`rustup target add x86_64-unknown-linux-musl`
# and Debian's musl-tools; no flags are needed), which gives the same bits.
FROM rust:1 AS build
WORKDIR /hardpan
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --profile dist --target "$(rustc -vV | sed -n 's/host: //p')" \
    && cp target/*/dist/hardpan /hardpan-static

FROM scratch
COPY --from=build /hardpan-static /hardpan
EXPOSE 8080
ENTRYPOINT ["/hardpan"]
CMD ["--help"]
