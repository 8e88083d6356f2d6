"""flash-attn beside torch's own attention, for whoever has a GPU; and flash-attn's two functions as a reference."""
