"""Golden values for prism-fl/src/privacy/accounting: the delta of Gaussian noise at epsilon, by Google's privacy loss and by the
formula of Balle and Wang (2018, theorem 8) in numbers of 50 digits.

    pip install dp-accounting==0.6.0 mpmath==1.4.1
    python tests/golden/privacy_accounting.py > tests/golden/privacy_accounting.json
"""

import json

import mpmath
from dp_accounting.pld import privacy_loss_mechanism


def google_gaussian(rho, epsilon):
    """Delta by Google's privacy loss of a Gaussian of sensitivity 1."""
    return privacy_loss_mechanism.GaussianPrivacyLoss((1 / (2 * rho)) ** 0.5).get_delta_for_epsilon(epsilon)


def digits(rho, epsilon):
    """The same from the formula; exactly these doubles are meant."""
    with mpmath.workdps(50):
        rho, epsilon = mpmath.mpf(rho), mpmath.mpf(epsilon)
        m = mpmath.sqrt(2 * rho)
        return float(mpmath.ncdf(m / 2 - epsilon / m) - mpmath.exp(epsilon) * mpmath.ncdf(-m / 2 - epsilon / m))


gaussian = [
    {"rho": rho, "epsilon": epsilon, "google": float(google_gaussian(rho, epsilon)), "digits": digits(rho, epsilon)}
    for rho in (1e-4, 0.0018809, 0.0359259, 0.25, 1.0, 4.0, 20.0)
    for epsilon in (0.02, 0.2, 1.0, 4.0, 20.0)
]
print(json.dumps({"gaussian": gaussian}, indent=1))
