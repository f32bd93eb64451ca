"""Small models of our own, each readable in one screen."""

from collections import OrderedDict

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Add what two convolutions make of x to x itself (He et al. 2015, arXiv:1512.03385)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)  # one module, called twice, as in torchvision's resnets
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels)))

    def forward(self, x: Tensor) -> Tensor:
        change = self.relu(self.bn1(self.conv1(x)))
        change = self.bn2(self.conv2(change))
        return self.relu(self.shortcut(x) + change)


class DigitsNet(nn.Module):
    """Classify images (N, 1, 8, 8) in 0..1 by a stem, two residual blocks and a head; return logits (N, classes)."""

    def __init__(self, classes: int = 10, *, width: int = 16, dropout: float = 0.3):
        super().__init__()
        conv = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.stem = nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(width), relu=nn.ReLU(inplace=True)))
        self.block1 = ResidualBlock(width, width)  # (N, 16, 8, 8)
        self.block2 = ResidualBlock(width, 2 * width, stride=2)  # (N, 32, 4, 4)
        self.head = nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                dropout=nn.Dropout(dropout),
                linear=nn.Linear(2 * width, classes),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block2(self.block1(self.stem(x))))
