"""The networks: structure and latent flows, their VAEs and decoders, and the image encoder, as PyTorch modules."""
