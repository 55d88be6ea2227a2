"""Fourier transforms."""

from __future__ import annotations

from . import costs
from .op import Op, rows
from .shapes import creation, fourier

__all__ = ["ROWS"]

ROWS: tuple[Op, ...] = (
    *rows(
        fourier.transform(fourier.COMPLEX),
        "Fourier transform.",
        "fft_fft(Tensor self, SymInt? n=None, int dim=-1, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.COMPLEX),
        "Inverse Fourier transform.",
        "fft_ifft(Tensor self, SymInt? n=None, int dim=-1, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.COMPLEX, several=True),
        "Fourier transform of several axes.",
        "fft_fft2(Tensor self, SymInt[1]? s=None, int[1] dim=[-2, -1], str? norm=None) -> Tensor",
        "fft_fftn(Tensor self, SymInt[1]? s=None, int[1]? dim=None, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.COMPLEX, several=True),
        "Inverse Fourier transform of several axes.",
        "fft_ifft2(Tensor self, SymInt[1]? s=None, int[1] dim=[-2, -1], str? norm=None) -> Tensor",
        "fft_ifftn(Tensor self, SymInt[1]? s=None, int[1]? dim=None, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.TO_HALF),
        "Fourier transform of a real tensor, half of its spectrum.",
        "fft_rfft(Tensor self, SymInt? n=None, int dim=-1, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.TO_HALF),
        "Inverse Fourier transform of a real tensor, half of its spectrum.",
        "fft_ihfft(Tensor self, SymInt? n=None, int dim=-1, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.TO_HALF, several=True),
        "Fourier transform of a real tensor along several axes, half of its spectrum.",
        "fft_rfft2(Tensor self, SymInt[1]? s=None, int[1] dim=[-2, -1], str? norm=None) -> Tensor",
        "fft_rfftn(Tensor self, SymInt[1]? s=None, int[1]? dim=None, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.TO_HALF, several=True),
        "Inverse Fourier transform of a real tensor along several axes, half of its spectrum.",
        "fft_ihfft2(Tensor self, SymInt[1]? s=None, int[1] dim=[-2, -1], str? norm=None) -> Tensor",
        "fft_ihfftn(Tensor self, SymInt[1]? s=None, int[1]? dim=None, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.FROM_HALF),
        "Inverse Fourier transform from half of a Hermitian tensor to a real one.",
        "fft_irfft(Tensor self, SymInt? n=None, int dim=-1, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.FROM_HALF),
        "Fourier transform from half of a Hermitian tensor to a real one.",
        "fft_hfft(Tensor self, SymInt? n=None, int dim=-1, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.FROM_HALF, several=True),
        "Inverse Fourier transform of several axes from half of a Hermitian tensor to a real one.",
        "fft_irfft2(Tensor self, SymInt[1]? s=None, int[1] dim=[-2, -1], str? norm=None) -> Tensor",
        "fft_irfftn(Tensor self, SymInt[1]? s=None, int[1]? dim=None, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.transform(fourier.FROM_HALF, several=True),
        "Fourier transform of several axes from half of a Hermitian tensor to a real one.",
        "fft_hfft2(Tensor self, SymInt[1]? s=None, int[1] dim=[-2, -1], str? norm=None) -> Tensor",
        "fft_hfftn(Tensor self, SymInt[1]? s=None, int[1]? dim=None, str? norm=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.shift,
        "Frequency 0 moved to the centre.",
        "fft_fftshift(Tensor self, int[1]? dim=None) -> Tensor",
    ),
    *rows(
        fourier.shift,
        "Frequency 0 moved to the front.",
        "fft_ifftshift(Tensor self, int[1]? dim=None) -> Tensor",
    ),
    *rows(
        creation.frequencies(half=False),
        "The frequencies of a transform.",
        "fft_fftfreq(int n, float d=1., *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None) -> Tensor",
    ),
    *rows(
        creation.frequencies(half=True),
        "The frequencies of a half-complex transform.",
        "fft_rfftfreq(int n, float d=1., *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, "
        "bool? pin_memory=None) -> Tensor",
    ),
    *rows(
        fourier.raw_complex,
        "Complex Fourier transform of given axes.",
        "_fft_c2c(Tensor self, SymInt[] dim, int normalization, bool forward) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.raw_to_half,
        "Fourier transform of given axes of a real tensor.",
        "_fft_r2c(Tensor self, int[] dim, int normalization, bool onesided) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        fourier.raw_from_half,
        "Fourier transform of given axes to a real tensor.",
        "_fft_c2r(Tensor self, int[] dim, int normalization, SymInt last_dim_size) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        None,
        "Short-time Fourier transform.",
        "stft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? window=None, "
        "bool normalized=False, bool? onesided=None, bool? return_complex=None, bool? align_to_window=None) -> Tensor",
        "stft.center(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? window=None, "
        'bool center=True, str pad_mode="reflect", bool normalized=False, bool? onesided=None, '
        "bool? return_complex=None, bool? align_to_window=None) -> Tensor",
        cost=costs.fourier,
    ),
    *rows(
        None,
        "Inverse short-time Fourier transform.",
        "istft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? window=None, "
        "bool center=True, bool normalized=False, bool? onesided=None, int? length=None, "
        "bool return_complex=False) -> Tensor",
        cost=costs.fourier,
    ),
)
