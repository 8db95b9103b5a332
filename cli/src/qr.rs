// SPDX-License-Identifier: Apache-2.0
//! QR codes (ISO/IEC 18004) of short texts, for screens and printers.

use qrcode::render::{svg, unicode};
use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode};

/// Pixels of one module in a picture: a code of 300 bytes is some 600 pixels wide, and sharp on paper.
const MODULE: usize = 8;
/// Modules of the margin, as the standard asks for.
const MARGIN: usize = 4;

/// A QR code.
pub(crate) struct Qr(QrCode);

impl Qr {
    /// The code of `text`, with the weakest correction of errors: the code is read from a screen and has a signature.
    ///
    /// # Errors
    /// The text is too long.
    pub(crate) fn new(text: &str) -> Result<Self, QrError> {
        QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L).map(Self)
    }

    /// Lines of half blocks, for light characters on dark ground. On a light ground readers see the code inverted, which most
    /// can read.
    pub(crate) fn terminal(&self) -> String {
        let mut image = self.0.render::<unicode::Dense1x2>();
        image.quiet_zone(true).dark_color(unicode::Dense1x2::Light).light_color(unicode::Dense1x2::Dark);
        format!("{}\n", image.build())
    }

    /// An SVG picture.
    pub(crate) fn svg(&self) -> String {
        let size = u32::try_from(MODULE).unwrap_or(u32::MAX);
        self.0.render::<svg::Color<'_>>().quiet_zone(true).module_dimensions(size, size).build()
    }

    /// A black and white PNG picture.
    ///
    /// # Errors
    /// None in practice: it is written into memory.
    pub(crate) fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let width = (self.0.width() + 2 * MARGIN) * MODULE;
        let colors = self.0.to_colors();
        let is_dark = |x: usize, y: usize| {
            let at = |of: usize| (of / MODULE).checked_sub(MARGIN).filter(|of| *of < self.0.width());
            let color = at(x).zip(at(y)).and_then(|(x, y)| colors.get(y * self.0.width() + x));
            color.is_some_and(|color| *color == Color::Dark)
        };
        let mut bytes = Vec::new();
        let side = u32::try_from(width).unwrap_or(u32::MAX);
        let mut encoder = png::Encoder::new(&mut bytes, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        let pixels = (0..width * width).map(|at| if is_dark(at % width, at / width) { 0 } else { 255 });
        writer.write_image_data(&pixels.collect::<Vec<u8>>())?;
        writer.finish()?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Reads a picture: whether each pixel is dark.
    fn read(side: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
        let pixel = |x, y| if is_dark(x, y) { 0 } else { 255 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, pixel);
        image.detect_grids()[0].decode().unwrap().1
    }

    #[test]
    fn a_code_of_300_bytes_fits_a_terminal_and_is_read_from_it_and_from_a_picture() {
        let text = "krs-receipt:".repeat(25);
        let qr = Qr::new(&text).unwrap();
        let shown = qr.terminal();
        let lines = shown.lines().map(|line| line.chars().collect::<Vec<_>>()).collect::<Vec<_>>();
        let width = lines[0].len();
        assert!(width <= 80 && lines.len() <= 40, "{width} × {}", lines.len());
        // Light characters on dark ground: what is filled is light.
        let is_dark = |x: usize, y: usize| match lines[y / 2][x] {
            '█' => false,
            '▀' => y % 2 == 1,
            '▄' => y.is_multiple_of(2),
            _ => true,
        };
        let scale = 4;
        assert_eq!(
            read(width * scale, |x, y| (y / scale) / 2 >= lines.len() || is_dark(x / scale, y / scale)),
            text
        );

        let bytes = qr.png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let side = reader.next_frame(&mut pixels).unwrap().width as usize;
        assert_eq!(read(side, |x, y| pixels[y * side + x] == 0), text);
        assert!(qr.svg().contains("<svg"));
        assert!(Qr::new(&"k".repeat(3000)).is_err());
    }
}
