"""The arctangent of Java's `Math.atan`, to the last bit.

Java's is fdlibm's (Sun Microsystems, 1993, s_atan.c): the argument is reduced to |x| < 7/16 by one of
four identities, then an odd polynomial of 11 coefficients is summed in two halves. The system's or
NumPy's arctangent differs by one unit in the last place for one ratio in twenty, which is enough to
flip PHOG values.
"""

from __future__ import annotations

import math

from retrieval.compilation import compiled


@compiled
def arctangent(x: float) -> float:
    """Arctangent of x in radians, -pi/2..pi/2; infinities are allowed, NaN gives NaN."""
    if math.isnan(x):
        return x
    magnitude = abs(x)
    if magnitude >= 7.378697629483821e19:  # 2^66: pi/2 in two parts
        result = 1.57079632679489655800e00 + 6.12323399573676603587e-17
        return result if x > 0 else -result
    if magnitude < 0.4375:
        if magnitude < 1.862645149230957e-09:  # 2^-29
            return x
        high, low, t = 0.0, 0.0, magnitude
    elif magnitude < 0.6875:
        high, low = 4.63647609000806093515e-01, 2.26987774529616870924e-17  # atan(0.5)
        t = (2.0 * magnitude - 1.0) / (2.0 + magnitude)
    elif magnitude < 1.1875:
        high, low = 7.85398163397448278999e-01, 3.06161699786838301793e-17  # atan(1)
        t = (magnitude - 1.0) / (magnitude + 1.0)
    elif magnitude < 2.4375:
        high, low = 9.82793723247329054082e-01, 1.39033110312309984516e-17  # atan(1.5)
        t = (magnitude - 1.5) / (1.0 + 1.5 * magnitude)
    else:
        high, low = 1.57079632679489655800e00, 6.12323399573676603587e-17  # atan(inf)
        t = -1.0 / magnitude
    z = t * t
    w = z * z
    odd = z * (
        3.33333333333329318027e-01
        + w
        * (
            1.42857142725034663711e-01
            + w
            * (
                9.09088713343650656196e-02
                + w * (6.66107313738753120669e-02 + w * (4.97687799461593236017e-02 + w * 1.62858201153657823623e-02))
            )
        )
    )
    even = w * (
        -1.99999999998764832476e-01
        + w
        * (
            -1.11111104054623557880e-01
            + w * (-7.69187620504482999495e-02 + w * (-5.83357013379057348645e-02 + w * -3.65315727442169155270e-02))
        )
    )
    bend = t * (odd + even)
    result = t - bend if magnitude < 0.4375 else high - ((bend - low) - t)
    return result if x > 0 else -result
