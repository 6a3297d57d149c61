"""Corruptions of CIFAR-C, ImageNet-C and C-bar, made from clean pictures."""
