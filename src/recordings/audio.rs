//! WAV to Opus in Ogg and back (RFC 6716, 7845): a page a second, so that any second is found without those before it.
//!
//! Within the sealed file the Ogg stream is followed by where each page begins and by a footer. The WAV given out is decoded in blocks
//! of ten seconds, each begun anew a second earlier: the same bytes come, whether all are asked for or a part (RFC 7845 §4.6 wants 80 ms
//! for a decoder to settle).

use super::sealed::{SealError, Sealed};
use super::wav::{self, Wav};
use ::opus::{Application, Bitrate, Channels, Decoder, Encoder, Signal};
use ogg::{PacketWriteEndInfo, PacketWriter};
use std::io::{self, Write};

/// Both channels together. Narrow-band voice at 16 kbit/s a channel is above what A-law's own noise lets anybody hear.
const BITRATE: i32 = 32_000;
/// Of 10; see docs/decisions/0007 for what the others cost.
const COMPLEXITY: i32 = 5;
/// 20 ms.
pub const PACKET_FRAMES: usize = 160;
const PACKETS_A_PAGE: u64 = 50;
const PAGE_FRAMES: u64 = 8_000;
/// A page's 255 lacing values hold 50 packets of this size whole.
const PACKET_BYTES_MAX: usize = 1_000;
/// Seconds decoded in one go for the WAV.
const BLOCK_PAGES: u64 = 10;
pub const BLOCK_FRAMES: u64 = BLOCK_PAGES * PAGE_FRAMES;
/// Ogg counts Opus at 48 kHz, whatever went in (RFC 7845 §4).
const TICKS_A_FRAME: u64 = 6;
const SERIAL: u32 = 0x122;
/// Frames, bytes of Ogg, pages of sound, frames to skip.
const FOOTER: usize = 8 + 8 + 4 + 4;
/// A page's offset.
const ENTRY: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("Opus cannot {0}")]
    Opus(&'static str, #[source] ::opus::Error),
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error("the stream of sound is not as we write it")]
    Malformed,
}

/// Writes the WAV as Ogg Opus, page table and footer.
pub fn pack(wav: &mut Wav, out: &mut impl Write) -> Result<(), AudioError> {
    let mut encoder = Encoder::new(wav::RATE, Channels::Stereo, Application::Voip).map_err(opus("begin"))?;
    encoder.set_bitrate(Bitrate::Bits(BITRATE)).map_err(opus("take a rate"))?;
    encoder.set_complexity(COMPLEXITY).map_err(opus("take a complexity"))?;
    encoder.set_signal(Signal::Voice).map_err(opus("take a signal"))?;
    let skip = u64::try_from(encoder.get_lookahead().map_err(opus("tell its delay"))?).unwrap_or_default();
    let frames = wav.frames();
    let packets = (frames + skip).div_ceil(PACKET_FRAMES as u64).max(1);

    let mut counted = Counted { out, bytes: 0 };
    let mut pages: Vec<u32> = Vec::new();
    {
        let mut ogg = PacketWriter::new(&mut counted);
        ogg.write_packet(opus_head(skip), SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        ogg.write_packet(opus_tags(), SERIAL, PacketWriteEndInfo::EndPage, 0)?;
        let mut packet = [0; PACKET_BYTES_MAX];
        for number in 0..packets {
            if number % PACKETS_A_PAGE == 0 {
                pages.push(u32::try_from(ogg.inner().bytes).map_err(|_| AudioError::Malformed)?);
            }
            let mut sound: Vec<i16> = wav.read(PACKET_FRAMES)?.into_iter().flatten().collect();
            sound.resize(PACKET_FRAMES * 2, 0);
            let length = encoder.encode(&sound, &mut packet).map_err(opus("encode"))?;
            let after = (number + 1) * PACKET_FRAMES as u64;
            let (end, after) = match number + 1 {
                all if all == packets => (PacketWriteEndInfo::EndStream, frames + skip),
                full if full % PACKETS_A_PAGE == 0 => (PacketWriteEndInfo::EndPage, after),
                _ => (PacketWriteEndInfo::NormalPacket, after),
            };
            let packet = packet.get(..length).unwrap_or_default().to_vec();
            ogg.write_packet(packet, SERIAL, end, after * TICKS_A_FRAME)?;
        }
    }
    let ogg_bytes = counted.bytes;
    for page in &pages {
        counted.write_all(&page.to_le_bytes())?;
    }
    counted.write_all(&frames.to_le_bytes())?;
    counted.write_all(&ogg_bytes.to_le_bytes())?;
    counted.write_all(&u32::try_from(pages.len()).unwrap_or(u32::MAX).to_le_bytes())?;
    counted.write_all(&u32::try_from(skip).unwrap_or_default().to_le_bytes())?;
    Ok(())
}

/// RFC 7845 §5.1: version, channels, pre-skip, rate of the original, gain, one stereo stream.
fn opus_head(skip: u64) -> Vec<u8> {
    let skip = u16::try_from(skip * TICKS_A_FRAME).unwrap_or(u16::MAX);
    let parts: [&[u8]; 6] = [b"OpusHead", &[1, 2], &skip.to_le_bytes(), &wav::RATE.to_le_bytes(), &[0, 0], &[0]];
    parts.concat()
}

/// RFC 7845 §5.2: who wrote it, and no comments.
fn opus_tags() -> Vec<u8> {
    let vendor = b"dozvon";
    let parts: [&[u8]; 4] = [b"OpusTags", &(vendor.len() as u32).to_le_bytes(), vendor, &0u32.to_le_bytes()];
    parts.concat()
}

fn opus(doing: &'static str) -> impl Fn(::opus::Error) -> AudioError {
    move |cause| AudioError::Opus(doing, cause)
}

struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// In which form a recording is given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    #[default]
    Wav,
    Ogg,
}

/// A packed recording, open for reading anywhere.
pub struct Packed {
    sealed: Sealed,
    frames: u64,
    ogg_bytes: u64,
    /// Where each page of sound begins, and behind the last.
    pages: Vec<u64>,
    skip: u64,
    block: Option<(u64, Vec<u8>)>,
}

impl Packed {
    pub fn open(mut sealed: Sealed) -> Result<Packed, AudioError> {
        let footer_at = sealed.length().checked_sub(FOOTER as u64).ok_or(AudioError::Malformed)?;
        let footer = sealed.read_at(footer_at, FOOTER)?;
        let (Some((frames, rest)), true) = (footer.split_first_chunk::<8>(), footer.len() == FOOTER) else {
            return Err(AudioError::Malformed);
        };
        let (Some((ogg_bytes, rest)), Some(skip)) = (rest.split_first_chunk::<8>(), rest.last_chunk::<4>()) else {
            return Err(AudioError::Malformed);
        };
        let count = rest.first_chunk::<4>().map_or(0, |count| u32::from_le_bytes(*count));
        let ogg_bytes = u64::from_le_bytes(*ogg_bytes);
        if ogg_bytes.saturating_add(u64::from(count) * ENTRY as u64) != footer_at {
            return Err(AudioError::Malformed);
        }
        let table = sealed.read_at(ogg_bytes, count as usize * ENTRY)?;
        let mut pages: Vec<u64> = table.as_chunks().0.iter().map(|entry| u64::from(u32::from_le_bytes(*entry))).collect();
        pages.push(ogg_bytes);
        let (frames, skip) = (u64::from_le_bytes(*frames), u64::from(u32::from_le_bytes(*skip)));
        Ok(Packed { sealed, frames, ogg_bytes, pages, skip, block: None })
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn ms(&self) -> u64 {
        self.frames / u64::from(wav::RATE / 1000)
    }

    pub fn key(&self) -> super::keys::KeyId {
        self.sealed.key()
    }

    /// Bytes in this form.
    pub fn length(&self, form: Form) -> u64 {
        match form {
            Form::Ogg => self.ogg_bytes,
            Form::Wav => wav::HEADER as u64 + self.frames * wav::FRAME as u64,
        }
    }

    /// Bytes of this form from `offset` on: as many as lie at hand, up to `most`, none only at the end.
    pub fn read(&mut self, form: Form, offset: u64, most: usize) -> Result<Vec<u8>, AudioError> {
        let left = self.length(form).saturating_sub(offset).min(most as u64) as usize;
        if left == 0 {
            return Ok(Vec::new());
        }
        match form {
            Form::Ogg => Ok(self.sealed.read_at(offset, left)?),
            Form::Wav => match offset.checked_sub(wav::HEADER as u64) {
                None => Ok(wav::header(self.frames).into_iter().skip(offset as usize).take(left).collect()),
                Some(offset) => {
                    let block_bytes = BLOCK_FRAMES * wav::FRAME as u64;
                    let (number, within) = (offset / block_bytes, (offset % block_bytes) as usize);
                    Ok(self.block(number)?.iter().skip(within).take(left).copied().collect())
                }
            },
        }
    }

    /// The frames of a block of ten seconds.
    pub fn frames_of_block(&mut self, number: u64) -> Result<Vec<[i16; 2]>, AudioError> {
        let bytes = self.block(number)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|[l0, l1, r0, r1]| [i16::from_le_bytes([*l0, *l1]), i16::from_le_bytes([*r0, *r1])])
            .collect())
    }

    fn block(&mut self, number: u64) -> Result<&[u8], AudioError> {
        if self.block.as_ref().is_none_or(|(at_hand, _)| *at_hand != number) {
            self.block = Some((number, self.decode_block(number)?));
        }
        Ok(self.block.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default())
    }

    fn decode_block(&mut self, number: u64) -> Result<Vec<u8>, AudioError> {
        let first_page = (number * BLOCK_PAGES).saturating_sub(1);
        // The encoder's delay shifts the end of the block into the next page.
        let behind = (number + 1) * BLOCK_PAGES + 1;
        let from = (number * BLOCK_FRAMES + self.skip).saturating_sub(first_page * PAGE_FRAMES) as usize;
        let count = self.frames.saturating_sub(number * BLOCK_FRAMES).min(BLOCK_FRAMES) as usize;

        let mut decoder = Decoder::new(wav::RATE, Channels::Stereo).map_err(opus("begin"))?;
        let mut sound: Vec<i16> = Vec::with_capacity((from + count + PACKET_FRAMES) * 2);
        let mut frame = [0; PACKET_FRAMES * 2];
        for page in first_page..behind {
            for packet in self.page(page)? {
                let frames = decoder.decode(&packet, &mut frame, false).map_err(opus("decode"))?;
                sound.extend(frame.iter().take(frames * 2));
            }
        }
        let bytes: Vec<u8> = sound.iter().skip(from * 2).take(count * 2).flat_map(|sample| sample.to_le_bytes()).collect();
        if bytes.len() == count * wav::FRAME { Ok(bytes) } else { Err(AudioError::Malformed) }
    }

    /// The packets of a page; none behind the last page. Our packets never go over a page's end.
    fn page(&mut self, number: u64) -> Result<Vec<Vec<u8>>, AudioError> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let (Some(&start), Some(&end)) = (self.pages.get(number), self.pages.get(number.saturating_add(1))) else {
            return Ok(Vec::new());
        };
        let length = end.checked_sub(start).ok_or(AudioError::Malformed)?;
        let page = self.sealed.read_at(start, length as usize)?;
        // RFC 3533 §6: 26 bytes of header, the number of lacing values, the values, the packets.
        let (count, rest) = page.split_at_checked(26).and_then(|(_, rest)| rest.split_first()).ok_or(AudioError::Malformed)?;
        let (lacing, mut bodies) = rest.split_at_checked(usize::from(*count)).ok_or(AudioError::Malformed)?;
        let (mut packets, mut length) = (Vec::new(), 0);
        for value in lacing {
            length += usize::from(*value);
            if *value < 255 {
                let (packet, rest) = bodies.split_at_checked(length).ok_or(AudioError::Malformed)?;
                packets.push(packet.to_vec());
                (bodies, length) = (rest, 0);
            }
        }
        Ok(packets)
    }
}
